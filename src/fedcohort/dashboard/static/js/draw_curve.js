// Curves over one pair of axes: smooth, in steps or by their points, each with a band where it has intervals.

import { element } from "./dom.js";
import { plain, tip } from "./charts.js";
import { drawTable } from "./draw_table.js";
import { said, shown, spoken, written } from "./values.js";

export const STYLES = [
  { hue: "test", type: "solid", symbol: "circle", size: 5 },
  { hue: "train", type: [5, 4], symbol: "rect", size: 4 },
  { hue: "good", type: [2, 3], symbol: "triangle", size: 5 },
  { hue: "violet", type: [9, 3, 2, 3], symbol: "diamond", size: 5 },
  { hue: "bad", type: [9, 4], symbol: "circle", size: 5 },
  { hue: "accent", type: [2, 6], symbol: "rect", size: 4 },
];
const MAX_SPOKEN = 12;

/** Draws curves, their names where there are several, and the table below their x axis. */
export function drawCurve(figure) {
  const container = element("div", { attributes: { id: `figure-${figure.name}`, class: "chart", role: "img", "aria-label": spoken(figure, parts(figure)) } });
  const title = figure.below ? said(figure.below.title) : "";
  const below = [...(title ? [element("p", { text: title, attributes: { class: "quiet" } })] : []), ...(figure.below ? [drawTable(figure.below).element] : [])];
  const whole = element("div", { children: [...(figure.lines.length > 1 ? [legend(figure)] : []), container, ...below] });
  return { element: whole, charts: [{ container, option: (colours) => curveOption(figure, colours) }] };
}

function legend(figure) {
  const names = figure.lines.map((line, place) => element("li", { text: said(line.name), attributes: { class: `line-${place % STYLES.length}` } }));
  return element("ul", { attributes: { class: "legend" }, children: names });
}

/** Of one short curve its points; of each of several, or of a long one, where it ends. */
function parts(figure) {
  const place = ({ x, y }) => `${written(x, figure.x.format)} ${written(y, figure.y.format)}`;
  const [only] = figure.lines;
  if (figure.lines.length === 1 && only.points.length <= MAX_SPOKEN) return only.points.map(place);
  return figure.lines.filter((line) => line.points.length > 0).map((line) => `${said(line.name)} ${place(line.points.at(-1))}`);
}

const hasBand = (line) => line.points.some((point) => typeof point.low === "number");

/**
 * The option of a chart of curves.
 * `styles` are those of the lines, a line of at most `symbols` points shows each of them, and a tip names even
 * an only line where it is `named`.
 */
export function curveOption(figure, colours, { styles = STYLES, symbols = 0, named = figure.lines.length > 1 } = {}) {
  const lines = figure.lines.map((line, place) => ({ ...line, style: styles[place % styles.length] }));
  return {
    textStyle: { fontFamily: colours.font },
    grid: { left: yName(figure) ? 22 : 6, right: 16, top: 12, bottom: 26, containLabel: true },
    tooltip: {
      ...tip(colours),
      trigger: figure.marked ? "item" : "axis",
      axisPointer: { type: "line", lineStyle: { color: colours.idle, width: 1 } },
      formatter: (points) => tipText(figure, points, named),
    },
    xAxis: { ...axisOf(figure.x, said(figure.x.title), 26, colours), splitLine: { show: figure.diagonal, lineStyle: { color: colours.line } } },
    yAxis: { ...axisOf(figure.y, yName(figure), 36, colours), splitNumber: 4 },
    series: [
      ...lines.map((line) => lineOf(figure, line, colours, symbols)),
      ...lines.filter(hasBand).flatMap((line) => bandOf(figure, line, colours)),
      ...(figure.diagonal ? [diagonal(colours)] : []),
    ],
  };
}

/** A name that the heading says already is not said again. */
const yName = ({ y, title }) => (said(y.title) === said(title) ? "" : said(y.title));

function axisOf(axis, name, nameGap, colours) {
  const text = { color: colours.quiet, fontFamily: colours.font, fontSize: 11 };
  const isShare = axis.low === 0 && axis.high === 1;
  return {
    ...(axis.log ? { type: "log", logBase: 2 } : { type: "value" }),
    name: plain(name),
    nameLocation: "middle",
    nameGap,
    nameTextStyle: text,
    min: axis.low,
    max: axis.high,
    scale: axis.low === null,
    ...(isShare ? { interval: 0.25 } : {}),
    ...(axis.format === "count" ? { minInterval: 1 } : {}),
    axisLabel: { ...text, hideOverlap: true },
    axisLine: { lineStyle: { color: colours.line } },
    axisTick: { show: false },
    splitLine: { lineStyle: { color: colours.line } },
  };
}

const stepped = (figure) => (figure.steps ? { step: "end" } : {});

function lineOf(figure, line, colours, symbols) {
  const { hue, type, symbol, size } = line.style;
  const isAlone = figure.lines.length === 1 && !figure.marked && figure.y.low === 0 && !hasBand(line);
  return {
    type: "line",
    ...stepped(figure),
    name: plain(said(line.name)),
    data: line.points.map((point) => [point.x, point.y]),
    z: 3,
    symbol,
    symbolSize: figure.marked ? 7 : size,
    showSymbol: figure.marked || line.points.length <= symbols,
    lineStyle: { color: colours[hue], width: 2, type },
    itemStyle: { color: colours[hue] },
    ...(isAlone ? { areaStyle: { color: colours[hue], opacity: 0.1 } } : {}),
    emphasis: { disabled: true },
  };
}

/** The points that have intervals; in steps an interval holds until the next point. */
function banded(figure, line) {
  const isKnown = ({ low, high }) => typeof low === "number" && typeof high === "number";
  return line.points.flatMap((point, place) => {
    const before = line.points[place - 1];
    if (isKnown(point)) return [point];
    return figure.steps && before && isKnown(before) ? [{ ...before, x: point.x }] : [];
  });
}

/** Two stacked lines without a stroke, the area between which is the interval. */
function bandOf(figure, line, colours) {
  const known = banded(figure, line);
  const unseen = {
    type: "line",
    ...stepped(figure),
    name: "band",
    stack: `band ${said(line.name)}`,
    stackStrategy: "all",
    symbol: "none",
    silent: true,
    lineStyle: { opacity: 0 },
    tooltip: { show: false },
    z: 1,
  };
  return [
    { ...unseen, data: known.map(({ x, low }) => [x, low]) },
    { ...unseen, data: known.map(({ x, low, high }) => [x, high - low]), areaStyle: { color: colours[line.style.hue], opacity: 0.16 } },
  ];
}

function diagonal(colours) {
  const lineStyle = { color: colours.idle, type: "dotted", width: 1 };
  return { type: "line", data: [[0, 0], [1, 1]], symbol: "none", silent: true, lineStyle, tooltip: { show: false } };
}

/** Bands and the diagonal come after the lines, and have no tip. */
function tipText(figure, given, named) {
  const hit = (Array.isArray(given) ? given : [given]).filter(({ seriesIndex }) => seriesIndex < figure.lines.length);
  if (hit.length === 0) return "";
  const [{ seriesIndex, dataIndex }] = hit;
  const first = figure.lines[seriesIndex].points[dataIndex];
  const head = `${said(figure.x.title)} ${written(first.x, figure.x.format)}`;
  const valueOf = (point) => shown({ ...point, number: point.y, known: point.known !== false }, figure.y.format, figure.interval);
  if (!named) {
    const patients = typeof first.n === "number" ? [said({ key: "figures.rows", values: { n: first.n } })] : [];
    return [head, `${said(figure.y.title)} ${valueOf(first)}`, ...patients].join("\n");
  }
  const rows = hit.map((each) => {
    const line = figure.lines[each.seriesIndex];
    const at = figure.steps ? line.points.findLast((point) => point.x <= first.x) : line.points[each.dataIndex];
    return at ? [`${said(line.name)}: ${valueOf(at)}`] : [];
  });
  return [said(figure.y.title), head, ...rows.flat()].join("\n");
}
