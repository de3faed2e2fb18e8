// Numbers and texts of figures (fedcohort/figures.py) as a reader of this language sees them.

import { count, figure, number, percent, t } from "./texts.js";

const SMALLEST_P = 0.001;
/** Of a number: what changes none of four significant digits is not worth a word. */
const NEGLIGIBLE = 5e-5;

const FORMATS = {
  count,
  number: figure,
  metric: number,
  share: percent,
  p: (value) => (value < SMALLEST_P ? `< ${number(SMALLEST_P)}` : number(value)),
};

/** Writes a number in one of the formats of figures. */
export const written = (value, format) => FORMATS[format](value);

/** A text as it stands, or by its name with values that are texts or numbers. */
export function said(words) {
  if (typeof words === "string") return words;
  if (typeof words === "number") return Number.isInteger(words) ? count(words) : figure(words);
  return t(words.key, Object.fromEntries(Object.entries(words.values).map(([name, value]) => [name, said(value)])));
}

/** A value with what is uncertain of it; `interval` is the name of a text that says what its interval is of. */
export function shown(value, format, interval = null) {
  const { number: middle, low, high, error, known } = value;
  const isGiven = typeof middle === "number";
  if (typeof low === "number") {
    const ends = { low: written(low, format), high: typeof high === "number" ? written(high, format) : "∞" };
    if (!known) return isGiven ? t("figure.unknown", ends) : t("described.untold", ends);
    return `${isGiven ? written(middle, format) : "–"} (${interval ? t(interval, ends) : `${ends.low} – ${ends.high}`})`;
  }
  if (!isGiven) return "–";
  if (format === "count" && typeof error === "number") return `${count(middle)} ± ${count(Math.ceil(error))}`;
  const small = typeof error !== "number" || error < Math.abs(middle) * NEGLIGIBLE;
  const off = small ? "" : written(error, format);
  return small || off === written(0, format) ? written(middle, format) : `${written(middle, format)} ± ${off}`;
}

/** What a screen reader says of a picture that shows `parts`. */
export function spoken(figure_, parts) {
  const joined = parts.join(t("list.comma"));
  if (figure_.spoken) return said({ ...figure_.spoken, values: { ...figure_.spoken.values, parts: joined } });
  return `${said(figure_.title)}: ${joined}`;
}
