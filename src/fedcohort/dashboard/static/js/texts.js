// Every word of the page comes from the file of its language, texts/LANGUAGE/pages.json of the program.

const response = await fetch(new URL(`../texts/${document.documentElement.lang}.json`, import.meta.url));
const texts = await response.json();

/** The text of this name, with {placeholders} filled in; the name itself where there is no such text. */
export function t(name, values = {}) {
  const text = texts[name] ?? name;
  return text.replace(/\{(\w+)\}/g, (whole, key) => (key in values ? String(values[key]) : whole));
}

/** Several things in a row, as the language parts them. */
export const list = (parts) => parts.join(t("list.comma"));

/** Whether there is a text of this name. */
export const has = (name) => name in texts;

const language = document.documentElement.lang;
/** The reader's own region where the browser names one of this language: 24 Nov 2026 or Nov 24, 2026. */
const locale = navigator.languages.find((each) => each.split("-")[0] === language) ?? language;
const decimals = new Intl.NumberFormat(locale, { minimumFractionDigits: 3, maximumFractionDigits: 3 });
const significant = new Intl.NumberFormat(locale, { maximumSignificantDigits: 3 });
const four = new Intl.NumberFormat(locale, { maximumSignificantDigits: 4 });
const whole = new Intl.NumberFormat(locale, { maximumFractionDigits: 0 });
const shares = new Intl.NumberFormat(locale, { style: "percent", maximumFractionDigits: 1 });
const units = new Map();
const day = new Intl.DateTimeFormat(locale, { dateStyle: "medium", timeStyle: "short", hourCycle: "h23" });
const clock = new Intl.DateTimeFormat(locale, { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });

/** A metric with three decimals, or three significant digits where it is large. */
export function number(value) {
  if (typeof value !== "number") return "–";
  return Math.abs(value) < 1000 ? decimals.format(value) : significant.format(value);
}

/** A whole number. */
export const count = (value) => (typeof value === "number" ? whole.format(value) : "–");

/** Four significant digits, for a figure in a column's own unit. */
export const figure = (value) => (typeof value === "number" ? four.format(value) : "–");

/** Three significant digits. */
export const short = (value) => (typeof value === "number" ? significant.format(value) : "–");

export const percent = (value) => shares.format(value);

/** Seconds, in the unit that reads best. */
export function duration(seconds) {
  if (typeof seconds !== "number") return "–";
  const small = Math.abs(seconds) < 1;
  return unit(small ? "millisecond" : "second").format(small ? seconds * 1000 : seconds);
}

/** Bytes, in the unit that reads best. */
export function bytes(amount) {
  const power = Math.min(Math.floor(Math.log10(Math.max(amount, 1)) / 3), 3);
  return unit(["byte", "kilobyte", "megabyte", "gigabyte"][power]).format(amount / 1000 ** power);
}

function unit(name) {
  // "3 byte" is what English makes of the short form.
  const unitDisplay = name === "byte" ? "long" : "short";
  if (!units.has(name)) units.set(name, new Intl.NumberFormat(locale, { style: "unit", unit: name, unitDisplay, maximumSignificantDigits: 3 }));
  return units.get(name);
}

/** Day and time of an ISO date, or a dash. */
export const date = (iso) => formatted(day, iso);

/** Time of day of an ISO date of today, day and time of an older one. */
export function time(iso) {
  const today = new Date(iso).toDateString() === new Date().toDateString();
  return formatted(today ? clock : day, iso);
}

function formatted(format, iso) {
  const when = new Date(iso);
  return iso && !Number.isNaN(when.getTime()) ? format.format(when) : "–";
}
