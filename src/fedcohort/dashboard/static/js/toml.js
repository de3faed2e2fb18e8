// A study as TOML (https://toml.io/en/v1.0.0), from the values of the form.

/** The whole text of a study. */
export function studyToml(values) {
  const lines = [`name = ${string(values.name)}`, `protection = ${string(values.protection)}`, `min_sites = ${values.min_sites}`];
  if (values.colluders) lines.push(`colluders = ${values.colluders}`);
  lines.push("", "[cohort]", `table = ${string(values.table)}`, `columns = [${values.columns.map(string).join(", ")}]`);
  if (values.patient_id) lines.push(`patient_id = ${string(values.patient_id)}`);
  if (values.label) lines.push(`label = ${label(values)}`);
  if (values.where) lines.push(`where = ${string(values.where)}`);
  if (values.kind === "train") lines.push(`split = { fraction = ${values.holdout / 100} }`);
  lines.push("", "[analysis]", `kind = ${string(values.kind)}`);
  if (values.kind === "train") {
    lines.push(`model = ${string(values.model)}`, `algorithm = ${string(values.algorithm)}`);
    for (const name of ["rounds", "learning_rate", "batch_size"]) lines.push(`${name} = ${values[name]}`);
  }
  if (values.private) lines.push("", "[privacy]", `epsilon = ${values.epsilon}`, `delta = ${values.delta}`);
  if (values.private && values.sites_per_patient) lines.push(`sites_per_patient = ${values.sites_per_patient}`);
  return `${lines.join("\n")}\n`;
}

const label = ({ label: column, positive }) =>
  positive === null ? string(column) : `{ column = ${string(column)}, positive = ${typeof positive === "number" ? positive : string(positive)} }`;

/** A basic string: JSON's escapes are TOML's, but for DEL, which JSON leaves as it is. */
const string = (text) => JSON.stringify(String(text)).replace(/\u007f/g, "\\u007f");
