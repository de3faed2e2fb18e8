// A description: each column's counts, mean and deviation as a table, its levels as bars, its numbers as a histogram.

import { byId, element, say } from "./dom.js";
import { chartIn, plain, short, tip } from "./charts.js";
import { isDescribed } from "./known.js";
import { count, figure, list, t } from "./texts.js";

const MAX_CHARTS = 24;
const MAX_BARS = 30;
const AXIS_PIXELS = 28;
const BAR_PIXELS = 24;

/** Shows descriptions; `show(report)` when there is one, `hide()` while there is none. */
export function describedView() {
  let charts = [];

  function hide() {
    for (const chart of charts) chart.dispose();
    charts = [];
    byId("described-card").hidden = true;
  }

  function show(report) {
    hide();
    const columns = Object.entries(report.describe ?? {});
    byId("described-card").hidden = columns.length === 0;
    byId("described").tBodies[0].replaceChildren(...columns.map(([name, column]) => row(name, column)));
    const patients = report.patients ?? report.rows;
    byId("described-note").textContent = typeof patients === "number" ? t("described.patients", { n: count(patients) }) : "";
    const drawn = columns.filter(([, column]) => column.levels || column.histogram?.counts.length > 0);
    const panels = drawn.slice(0, MAX_CHARTS).map(panel);
    byId("histograms").replaceChildren(...panels.map((each) => each.figure));
    charts = panels.map((each) => chartIn(each.container, each.option));
    const more = drawn.length > panels.length ? { shown: panels.length, all: drawn.length } : null;
    say("histograms-note", more ? t("described.more", more) : "");
    for (const chart of charts) chart.draw();
  }

  return { show, hide };
}

/** A figure; on a phone, where the table has no head, it stands beside its name. */
const cell = (text, index, { cells }) => element("td", { text, attributes: { class: "number", "data-name": cells[index + 1].textContent } });

function row(name, column) {
  const figures = [
    withError(column.n, column.n_error),
    withError(column.missing, column.missing_error),
    withEnds(column, "mean"),
    deviation(column),
  ];
  const [head] = byId("described").tHead.rows;
  return element("tr", {
    children: [
      element("th", { text: inUnit(name, column), attributes: { scope: "row" } }),
      ...figures.map((text, index) => cell(text, index, head)),
    ],
  });
}

/** With its interval where there is noise; one that the noise hides is told by its interval alone. */
function deviation(column) {
  const hidden = typeof column.std !== "number" && typeof column.std_high === "number";
  return hidden ? t("described.untold", { high: figure(column.std_high) }) : withEnds(column, "std");
}

/** A figure and its interval, or the interval alone where it covers most of what is possible. */
function withEnds(column, name) {
  if (!(name in column)) return "";
  const [low, high] = [column[`${name}_low`], column[`${name}_high`]];
  if (typeof low !== "number") return figure(column[name]);
  const ends = { low: figure(low), high: figure(high) };
  return isDescribed(column, name) ? `${figure(column[name])} (${ends.low} – ${ends.high})` : t("figure.unknown", ends);
}

const withError = (n, error) => (typeof error === "number" ? `${count(n)} ± ${count(Math.ceil(error))}` : count(n));

const inUnit = (name, { unit }) => (unit ? `${name} (${unit})` : name);

function panel([name, column]) {
  return column.levels ? levelsPanel(name, column) : numbersPanel(inUnit(name, column), column.histogram);
}

const notes = (texts) => texts.map((text) => element("p", { text, attributes: { class: "quiet" } }));

const within = (error) => (typeof error === "number" ? [t("described.error", { n: count(Math.ceil(error)) })] : []);

function numbersPanel(name, { low, high, counts, error, below, above }) {
  const width = (high - low) / counts.length;
  const bins = counts.map((n, index) => ({ from: low + index * width, to: low + (index + 1) * width, n }));
  const label = list(bins.filter((bin) => bin.n > 0).map((bin) => `${range(bin)} ${count(bin.n)}`));
  const container = element("div", { attributes: { class: "histogram numbers", role: "img", "aria-label": `${name}: ${label}` } });
  const beyond = below > 0 || above > 0 ? [t("described.beyond", { below: count(below), above: count(above) })] : [];
  const figure_ = element("div", { children: [element("h3", { text: name }), ...notes([...beyond, ...within(error)]), container] });
  return { container, figure: figure_, option: (colours) => binsOption(bins, low, high, colours) };
}

const range = (bin) => `${figure(bin.from)} – ${figure(bin.to)}`;

/** A line in steps over its area: each step goes from the lower to the upper edge of its part. */
function binsOption(bins, low, high, colours) {
  const text = { color: colours.quiet, fontFamily: colours.font, fontSize: 11 };
  const says = ([{ dataIndex }]) => {
    const bin = bins[Math.min(dataIndex, bins.length - 1)];
    return `${range(bin)}: ${count(bin.n)}`;
  };
  return {
    grid: { left: 6, right: 14, top: 10, bottom: 4, containLabel: true },
    tooltip: { ...tip(colours), trigger: "axis", formatter: says },
    xAxis: {
      type: "value",
      min: low,
      max: high,
      splitNumber: 4,
      axisLabel: { ...text, hideOverlap: true, formatter: figure },
      splitLine: { show: false },
      axisLine: { lineStyle: { color: colours.idle } },
    },
    yAxis: { type: "value", min: 0, minInterval: 1, splitNumber: 3, axisLabel: { ...text, formatter: count }, splitLine: { lineStyle: { color: colours.line } } },
    series: [
      {
        type: "line",
        step: "end",
        symbol: "none",
        data: [...bins.map((bin) => [bin.from, bin.n]), [high, bins.at(-1).n]],
        lineStyle: { color: colours.test, width: 1.5 },
        itemStyle: { color: colours.test },
        areaStyle: { color: colours.test, opacity: 0.45 },
        emphasis: { disabled: true },
      },
    ],
  };
}

function levelsPanel(name, column) {
  const bars = Object.entries(column.levels).slice(0, MAX_BARS);
  const label = list(bars.map(([level, n]) => `${level} ${withError(n, column.levels_error)}`));
  const container = element("div", { attributes: { class: "histogram", role: "img", "aria-label": `${name}: ${label}` } });
  container.style.height = `${bars.length * BAR_PIXELS + AXIS_PIXELS}px`;
  const figure_ = element("div", { children: [element("h3", { text: name }), ...notes(within(column.levels_error)), container] });
  return { container, figure: figure_, option: (colours) => barsOption(bars, column.levels_error, colours) };
}

function barsOption(bars, error, colours) {
  const text = { color: colours.quiet, fontFamily: colours.font, fontSize: 11 };
  return {
    grid: { left: 6, right: typeof error === "number" ? 80 : 44, top: 2, bottom: 2, containLabel: true },
    tooltip: { ...tip(colours), trigger: "item", formatter: ({ dataIndex }) => `${plain(bars[dataIndex][0])}: ${withError(bars[dataIndex][1], error)}` },
    xAxis: { type: "value", min: 0, minInterval: 1, splitNumber: 3, axisLabel: { ...text, hideOverlap: true, formatter: count }, splitLine: { lineStyle: { color: colours.line } } },
    yAxis: {
      type: "category",
      inverse: true,
      data: bars.map(([level]) => short(plain(level), 16)),
      axisLabel: { ...text, color: colours.ink, interval: 0 },
      axisTick: { show: false },
      axisLine: { lineStyle: { color: colours.idle } },
    },
    series: [
      {
        type: "bar",
        data: bars.map(([, n]) => n),
        barWidth: "64%",
        itemStyle: { color: colours.test, borderRadius: [0, 3, 3, 0] },
        label: { show: true, position: "right", color: colours.quiet, fontSize: 11, formatter: ({ value }) => withError(value, error) },
        emphasis: { disabled: true },
      },
    ],
  };
}
