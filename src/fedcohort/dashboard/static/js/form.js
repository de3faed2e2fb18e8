// The form of a new study: shows its TOML as it is filled, has it checked, and hands it in.

import { byId, element, say, soon } from "./dom.js";
import { get, post } from "./rest.js";
import { list, t } from "./texts.js";
import { studyToml } from "./toml.js";

const form = byId("draft");
const field = (name) => form.elements.namedItem(name);
let tables = new Map();
let asked = 0;

const value = (name) => String(field(name).value).trim();
const number = (name) => (Number.isFinite(field(name).valueAsNumber) ? field(name).valueAsNumber : 0);

function values() {
  const words = Object.fromEntries(
    ["name", "kind", "table", "label", "where", "model", "algorithm", "protection"].map((name) => [name, value(name)]),
  );
  const numbers = Object.fromEntries(
    ["min_sites", "holdout", "rounds", "learning_rate", "batch_size", "epsilon", "delta"].map((name) => [name, number(name)]),
  );
  const columns = [...byId("columns").querySelectorAll("input:checked")].map((box) => box.value);
  return { ...words, ...numbers, columns, private: field("private").checked };
}

function show() {
  byId("training").hidden = value("kind") !== "train";
  byId("privacy").hidden = !field("private").checked;
  for (const box of byId("columns").querySelectorAll("input")) {
    box.disabled = box.value === value("label");
    if (box.disabled) box.checked = false;
  }
  const text = studyToml(values());
  byId("toml").textContent = text;
  byId("save").href = `data:text/plain;charset=utf-8,${encodeURIComponent(text)}`;
  allow(false);
  check();
}

const check = soon(async () => {
  const mine = ++asked;
  try {
    const verdict = await get(`/api/draft?toml=${encodeURIComponent(byId("toml").textContent)}`);
    if (mine !== asked) return;
    judge(verdict.valid ? t("form.valid", { hash: verdict.hash.slice(0, 12) }) : t("form.invalid"), verdict.message ?? "");
    allow(verdict.valid);
  } catch (error) {
    if (mine === asked) judge(t("link.coordinator_gone"), error.message);
  }
}, 250);

function judge(words, errors) {
  say("verdict-words", words);
  say("verdict-errors", errors);
}

function allow(valid) {
  const button = byId("submit");
  if (button) button.disabled = !valid;
}

async function submit(event) {
  event.preventDefault();
  if (!byId("submit") || byId("submit").disabled) return;
  allow(false);
  try {
    const { id } = await post("/api/studies", { toml: byId("toml").textContent });
    location.assign(`/?study=${encodeURIComponent(id)}`);
  } catch (error) {
    judge(t("form.refused"), error.message);
  }
}

/** Every table of every site, with the columns that all sites which have it offer. */
function tablesOf(sites) {
  const found = new Map();
  for (const [site, catalogue] of Object.entries(sites)) {
    for (const [name, table] of Object.entries(catalogue?.tables ?? {})) {
      if (name === "*" || !table?.columns) continue;
      const known = found.get(name) ?? { sites: [], columns: null };
      const columns = Object.entries(table.columns);
      const common = known.columns && new Set(known.columns.map(([column]) => column));
      found.set(name, { sites: [...known.sites, site], columns: common ? columns.filter(([column]) => common.has(column)) : columns });
    }
  }
  return found;
}

function showTable() {
  const table = tables.get(value("table"));
  const columns = table?.columns ?? [];
  say("catalogue-note", table ? t("form.offered", { sites: list(table.sites) }) : t("form.nothing"));
  byId("columns").replaceChildren(...columns.map(([name, facts]) => choice(name, facts)));
  const none = element("option", { text: t("form.no_label"), attributes: { value: "" } });
  field("label").replaceChildren(none, ...columns.map(([name]) => element("option", { text: name, attributes: { value: name } })));
  show();
}

function choice(name, facts) {
  const box = element("input", { attributes: { type: "checkbox", value: name } });
  const about = element("span", { text: meaning(facts), attributes: { class: "quiet" } });
  return element("label", { attributes: { class: "choice" }, children: [box, element("span", { text: name }), about] });
}

function meaning(facts) {
  if (Array.isArray(facts?.levels)) return facts.levels.map(String).join(" | ").slice(0, 60);
  return typeof facts?.low === "number" && typeof facts?.high === "number" ? `${facts.low} … ${facts.high}` : "";
}

async function start() {
  form.addEventListener("input", (event) => (event.target.name === "table" ? showTable() : show()));
  form.addEventListener("submit", submit);
  try {
    tables = tablesOf((await get("/api/catalogue")).sites ?? {});
  } catch {
    judge(t("link.coordinator_gone"), "");
  }
  field("table").replaceChildren(...[...tables.keys()].map((name) => element("option", { text: name, attributes: { value: name } })));
  showTable();
}

start();
