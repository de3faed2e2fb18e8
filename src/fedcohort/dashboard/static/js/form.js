// The form of a new study: shows its TOML as it is filled, has it checked, and hands it in.

import { byId, element, say, soon } from "./dom.js";
import { get, post } from "./rest.js";
import { limitsOf } from "./rules.js";
import { list, t } from "./texts.js";
import { studyToml } from "./toml.js";

const form = byId("draft");
const field = (name) => form.elements.namedItem(name);
const settings = JSON.parse(form.dataset.settings);
let tables = new Map();
let limits = limitsOf([], "");
let asked = 0;
const touched = new Set();

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
  const positive = byId("positive").hidden ? null : levelsOfLabel()[field("positive").selectedIndex];
  return { ...words, ...numbers, ...limits.words, positive, columns, private: field("private").checked };
}

/** The two levels of a label that is not 0 or 1, in a site's declared order; none otherwise. */
function levelsOfLabel() {
  const columns = tables.get(value("table"))?.columns ?? [];
  const levels = columns.find(([name]) => name === value("label"))?.[1]?.levels ?? [];
  return levels.length === 2 && levels.map(String).sort().join() !== "0,1" ? levels : [];
}

/** Which of two levels counts as yes: the last that is declared, unless somebody chooses. */
function offerPositive() {
  const levels = levelsOfLabel();
  const options = levels.map((level) => element("option", { text: String(level), attributes: { value: String(level) } }));
  field("positive").replaceChildren(...options);
  field("positive").selectedIndex = levels.length - 1;
  byId("positive").hidden = levels.length === 0;
}

/** Private training needs other settings than exact training: Train.private's; what was filled in stays. */
function takeSettings() {
  const taken = settings[field("private").checked ? "private" : "exact"];
  for (const [name, setting] of Object.entries(taken)) if (!touched.has(name)) field(name).value = setting;
}

/** Offer what some hospital takes; what all of them refuse cannot be chosen. */
function offerAllowed() {
  const isPrivate = limits.privacyRequired || field("private").checked;
  field("private").checked = isPrivate;
  field("private").disabled = limits.privacyRequired;
  for (const [name, allowed] of [["protection", limits.protection], ["model", (model) => limits.model(model, isPrivate)]]) {
    const options = [...field(name).options];
    for (const option of options) option.disabled = !allowed(option.value);
    if (field(name).selectedOptions[0]?.disabled) field(name).value = options.find((option) => !option.disabled)?.value ?? "";
  }
  for (const radio of form.querySelectorAll("[name=kind]")) radio.disabled = !limits.analysis(radio.value);
  const chosen = form.querySelector("[name=kind]:checked");
  if (chosen.disabled) (form.querySelector("[name=kind]:enabled") ?? chosen).checked = true;
  for (const [name, { min, max }] of Object.entries(limits.numbers)) within(field(name), min, max);
  say("rules-note", limits.privacyRequired ? t("form.privacy_required") : "");
}

function within(input, min, max) {
  if (min !== null) input.min = min;
  if (max !== null) input.max = max;
  if (min !== null && number(input.name) < min) input.value = min;
  if (max !== null && number(input.name) > max) input.value = max;
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
    judge(wordsOf(verdict), verdict.message ?? "");
    allow(verdict.valid);
  } catch (error) {
    if (mine === asked) judge(t("link.coordinator_gone"), error.message);
  }
}, 250);

function wordsOf({ valid, hash, refused = [] }) {
  if (!valid) return t(refused.length > 0 ? "form.too_few" : "form.invalid");
  const short = { hash: hash.slice(0, 12), sites: list(refused) };
  return t(refused.length > 0 ? "form.valid_without" : "form.valid", short);
}

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
      const known = found.get(name) ?? { sites: [], rules: [], columns: null };
      const columns = Object.entries(table.columns);
      const common = known.columns && new Set(known.columns.map(([column]) => column));
      const rules = [...known.rules, catalogue.rules ?? null];
      found.set(name, { sites: [...known.sites, site], rules, columns: common ? columns.filter(([column]) => common.has(column)) : columns });
    }
  }
  return found;
}

function showTable() {
  const table = tables.get(value("table"));
  const columns = table?.columns ?? [];
  limits = limitsOf(table?.rules ?? [], value("table"));
  if (limits.privacyRequired && !field("private").checked) {
    field("private").checked = true;
    takeSettings();
  }
  offerAllowed();
  say("catalogue-note", table ? t("form.offered", { sites: list(table.sites) }) : t("form.nothing"));
  byId("columns").replaceChildren(...columns.map(([name, facts]) => choice(name, facts)));
  const none = element("option", { text: t("form.no_label"), attributes: { value: "" } });
  field("label").replaceChildren(none, ...columns.map(([name]) => element("option", { text: name, attributes: { value: name } })));
  offerPositive();
  show();
}

function choice(name, facts) {
  const box = element("input", { attributes: { type: "checkbox", value: name } });
  const about = element("span", { text: meaning(facts), attributes: { class: "quiet" } });
  return element("label", { attributes: { class: "choice" }, children: [box, element("span", { text: name }), about] });
}

/** What a number is in and between what, or the levels; and that nobody said so. */
function meaning(facts) {
  if (Array.isArray(facts?.levels)) return facts.levels.map(String).join(" | ").slice(0, 60);
  if (facts?.kind !== "numeric") return "";
  const ends = { low: facts.low, high: facts.high, unit: facts.unit };
  if (typeof facts.low === "number" && typeof facts.high === "number") {
    return t(facts.unit ? "predict.range" : "predict.range_without_unit", ends);
  }
  return t(facts.unit ? "predict.number_of" : "predict.number_of_without_unit", ends);
}

async function start() {
  form.addEventListener("input", (event) => {
    touched.add(event.target.name);
    if (event.target.name === "private") takeSettings();
    if (event.target.name === "label") offerPositive();
    offerAllowed();
    if (event.target.name === "table") showTable();
    else show();
  });
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
