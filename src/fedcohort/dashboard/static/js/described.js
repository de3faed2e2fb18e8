// A description: each column's counts, mean and deviation as a table, and its levels as bars.

import { byId, element } from "./dom.js";
import { chartIn, plain, short, tip } from "./charts.js";
import { count, list, number, t } from "./texts.js";

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
    const panels = columns.filter(([, column]) => column.levels).slice(0, MAX_CHARTS).map(panel);
    byId("histograms").replaceChildren(...panels.map((each) => each.figure));
    charts = panels.map((each) => chartIn(each.container, (colours) => barsOption(each.bars, colours)));
    for (const chart of charts) chart.draw();
  }

  return { show, hide };
}

const cell = (text) => element("td", { text, attributes: { class: "number" } });

function row(name, column) {
  const mean = "mean" in column ? number(column.mean) : "";
  const between = typeof column.mean_low === "number" ? ` (${number(column.mean_low)} – ${number(column.mean_high)})` : "";
  return element("tr", {
    children: [
      element("th", { text: name, attributes: { scope: "row" } }),
      cell(withError(column.n, column.n_error)),
      cell(count(column.missing)),
      cell(`${mean}${between}`),
      cell("std" in column ? number(column.std) : ""),
    ],
  });
}

const withError = (n, error) => (typeof error === "number" ? `${count(n)} ± ${count(Math.ceil(error))}` : count(n));

function panel([name, column]) {
  const bars = Object.entries(column.levels).slice(0, MAX_BARS);
  const label = list(bars.map(([level, n]) => `${level} ${count(n)}`));
  const container = element("div", { attributes: { class: "histogram", role: "img", "aria-label": `${name}: ${label}` } });
  container.style.height = `${bars.length * BAR_PIXELS + AXIS_PIXELS}px`;
  return { bars, container, figure: element("div", { children: [element("h3", { text: name }), container] }) };
}

function barsOption(bars, colours) {
  const text = { color: colours.quiet, fontFamily: colours.font, fontSize: 11 };
  return {
    grid: { left: 6, right: 44, top: 2, bottom: 2, containLabel: true },
    tooltip: { ...tip(colours), trigger: "item", formatter: ({ dataIndex }) => `${plain(bars[dataIndex][0])}: ${count(bars[dataIndex][1])}` },
    xAxis: { type: "value", min: 0, splitNumber: 3, axisLabel: { ...text, hideOverlap: true, formatter: count }, splitLine: { lineStyle: { color: colours.line } } },
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
        label: { show: true, position: "right", color: colours.quiet, fontSize: 11, formatter: ({ value }) => count(value) },
        emphasis: { disabled: true },
      },
    ],
  };
}
