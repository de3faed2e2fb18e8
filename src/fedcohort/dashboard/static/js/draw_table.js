// A table, and a matrix of counts.

import { element } from "./dom.js";
import { said, shown } from "./values.js";
import { count, list, percent } from "./texts.js";

const headed = (text, attributes = {}) => element("th", { text, attributes: { scope: "col", ...attributes } });
const titleOf = (column) => said(column.title) || column.name;

/** Draws a table; what bars draw, too, is left to them. */
export function drawTable(figure) {
  const places = figure.columns.flatMap((column, place) => (column.drawn ? [] : [place]));
  const titles = figure.columns.map(titleOf);
  const head = [headed(titleOf(figure.index)), ...places.map((place) => headed(titles[place], { class: "number" }))];
  const rows = figure.rows.map((row) => {
    const name = row.unit ? `${titleOf(row)} (${row.unit})` : titleOf(row);
    const cells = places.map((place) => cell(row.cells[place], figure.columns[place], titles[place]));
    return element("tr", { children: [element("th", { text: name, attributes: { scope: "row" } }), ...cells] });
  });
  return { element: scrolling(figure, "figures", head, rows), charts: [] };
}

/** On a phone, where the table has no head, a cell stands beside its column's title; lines break before intervals. */
function cell(value, column, title) {
  const text = textOf(value, column.format);
  const parts = text.split(/ (?=\()/).map((part) => element("span", { text: part }));
  const whole = element("span", { children: parts.flatMap((part, place) => (place > 0 ? [" ", part] : [part])) });
  return element("td", { attributes: { class: "number", "data-name": title }, children: text === "" ? [] : [whole] });
}

function textOf(value, format) {
  if (value === null) return "";
  if (Array.isArray(value)) return list(value.map((each) => `${said(each.name)} ${shown(each.value, format)}`));
  return typeof value === "string" || "key" in value ? said(value) : shown(value, format);
}

/** Draws a matrix: each count with its share of the row. */
export function drawMatrix(figure) {
  const head = [element("td"), ...figure.columns.map((name) => headed(said(name)))];
  const rows = figure.counts.map((counts, index) => {
    const all = counts.reduce((sum, each) => sum + each, 0);
    const cells = counts.map((each, column) => share(each, all, index === column));
    return element("tr", { children: [element("th", { text: said(figure.rows[index]), attributes: { scope: "row" } }), ...cells] });
  });
  return { element: scrolling(figure, "matrix", head, rows), charts: [] };
}

function share(each, all, right) {
  const part = element("span", { text: percent(all > 0 ? each / all : 0), attributes: { class: "quiet" } });
  return element("td", { attributes: { class: right ? "right" : "wrong" }, children: [element("strong", { text: count(each) }), part] });
}

function scrolling(figure, kind, head, rows) {
  const parts = [element("thead", { children: [element("tr", { children: head })] }), element("tbody", { children: rows })];
  const table = element("table", { attributes: { id: `figure-${figure.name}`, class: kind }, children: parts });
  return element("div", {
    attributes: { class: kind === "figures" ? "scroll wide" : "scroll", tabindex: 0, role: "region", "aria-label": said(figure.title) },
    children: [table],
  });
}
