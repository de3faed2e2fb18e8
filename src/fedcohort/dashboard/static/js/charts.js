// Apache ECharts as this page uses it: colours from the style sheet, drawn on a canvas, tips as plain text
// (its HTML tips would need inline styles, which the content security policy forbids).

import { atNextFrame } from "./dom.js";
import { isKnown } from "./known.js";
import { number, t } from "./texts.js";

const MAX_MARKED_POINTS = 40;
const live = new Set();

/** Colours of the style sheet, as they are now. */
export function palette() {
  const style = getComputedStyle(document.documentElement);
  const names = ["page", "card", "line", "ink", "quiet", "accent", "test", "train", "good", "violet", "bad", "idle"];
  const colours = Object.fromEntries(names.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]));
  return { ...colours, font: getComputedStyle(document.body).fontFamily };
}

/**
 * A chart in `container` whose option `describe(palette, size)` gives; it follows size and theme.
 * Returns { draw, dispose, chart }.
 */
export function chartIn(container, describe) {
  if (!window.echarts) return { draw() {}, dispose() {}, chart: null };
  const chart = window.echarts.init(container, null, { renderer: "canvas" });
  const draw = atNextFrame(() => {
    if (chart.isDisposed()) return;
    const size = { width: chart.getWidth(), height: chart.getHeight() };
    chart.setOption({ animation: false, ...describe(palette(), size) }, { notMerge: true });
  });
  const observer = new ResizeObserver(() => {
    chart.resize();
    draw();
  });
  observer.observe(container);
  const entry = { draw };
  live.add(entry);
  function dispose() {
    live.delete(entry);
    observer.disconnect();
    chart.dispose();
  }
  return { draw, dispose, chart };
}

matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
  for (const entry of live) entry.draw();
});

/** The plain look of a tip. */
export function tip(colours) {
  return {
    renderMode: "richText",
    backgroundColor: colours.card,
    borderColor: colours.line,
    borderWidth: 1,
    padding: [8, 10],
    confine: true,
    textStyle: { color: colours.ink, fontFamily: colours.font, fontSize: 12, lineHeight: 18 },
  };
}

/** The axis of rounds. */
export function roundAxis(colours, min, max) {
  const text = { color: colours.quiet, fontFamily: colours.font, fontSize: 11 };
  return {
    type: "value",
    name: t("chart.round"),
    nameLocation: "middle",
    nameGap: 26,
    nameTextStyle: text,
    min,
    max,
    minInterval: 1,
    axisLabel: { ...text, hideOverlap: true },
    axisLine: { lineStyle: { color: colours.line } },
    axisTick: { show: false },
    splitLine: { show: false },
  };
}

/** What is a share ends at 1, and the axis with it, where a rounded tick would lie beyond. */
const BOUNDED = new Set(["accuracy", "auc"]);
const endOf = (metric) => (BOUNDED.has(metric) ? ({ max }) => (max > 0.8 ? 1 : null) : null);

/** One metric by round: held-out patients solid, training patients dashed; a band where noise leaves an interval. */
export function lineOption(metric, curves, rounds, colours) {
  const text = { color: colours.quiet, fontFamily: colours.font, fontSize: 11 };
  return {
    textStyle: { fontFamily: colours.font },
    grid: { left: 6, right: 14, top: 12, bottom: 24, containLabel: true },
    tooltip: {
      ...tip(colours),
      trigger: "axis",
      axisPointer: { type: "line", lineStyle: { color: colours.idle, width: 1 } },
      formatter: (points) => tipText(metric, points),
    },
    xAxis: roundAxis(colours, rounds.first, Math.max(rounds.last, rounds.first + 1)),
    yAxis: {
      type: "value",
      scale: true,
      max: endOf(metric),
      splitNumber: 4,
      axisLabel: text,
      axisLine: { show: false },
      axisTick: { show: false },
      splitLine: { lineStyle: { color: colours.line } },
    },
    series: Object.entries(curves).flatMap(([split, points]) => [
      seriesOf(split, points, colours),
      ...bandOf(split, points, colours),
    ]),
  };
}

function seriesOf(split, points, colours) {
  const isTest = split === "test";
  const colour = isTest ? colours.test : colours.train;
  return {
    type: "line",
    name: split,
    data: points,
    z: isTest ? 3 : 2,
    symbol: isTest ? "circle" : "rect",
    symbolSize: isTest ? 5 : 4,
    showSymbol: points.length <= MAX_MARKED_POINTS,
    lineStyle: { color: colour, width: 2, type: isTest ? "solid" : [5, 4] },
    itemStyle: { color: colour },
    emphasis: { disabled: true },
  };
}

/** Two stacked lines without a stroke, the area between which is the interval. */
function bandOf(split, points, colours) {
  const known = points.filter(([, , low, high]) => low !== null && high !== null);
  if (known.length === 0) return [];
  const plain = {
    type: "line",
    stack: `band ${split}`,
    stackStrategy: "all",
    symbol: "none",
    silent: true,
    lineStyle: { opacity: 0 },
    tooltip: { show: false },
    z: 1,
  };
  const colour = split === "test" ? colours.test : colours.train;
  return [
    { ...plain, name: "band", data: known.map(([round, , low]) => [round, low]) },
    {
      ...plain,
      name: "band",
      data: known.map(([round, , low, high]) => [round, high - low]),
      areaStyle: { color: colour, opacity: 0.16 },
    },
  ];
}

function tipText(metric, points) {
  const head = `${t("chart.round")} ${points[0]?.value[0] ?? ""}`;
  const said = ([, value, low, high]) => {
    const ends = { low: number(low), high: number(high) };
    if (!isKnown(metric, low, high)) return t("figure.unknown", ends);
    return low === null || high === null ? number(value) : `${number(value)} (${t("tile.interval", ends)})`;
  };
  const shown = points.filter((point) => point.seriesName !== "band");
  const rows = shown.map((point) => `${splitName(point.seriesName)}: ${said(point.value)}`);
  return [t(`metric.${metric}`), head, ...rows].join("\n");
}

/** What a split is called within a sentence. */
export const splitName = (split) => t(`split.short.${split === "test" ? "test" : "train"}`);

/** Text for a canvas, where braces and bars would be read as styling. */
export const plain = (text) => String(text).replace(/[{}|]/g, " ").replace(/\s+/g, " ");

/** A text of at most `length` letters. */
export const short = (text, length) => (text.length <= length ? text : `${text.slice(0, length - 1)}…`);
