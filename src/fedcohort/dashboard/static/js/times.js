// Where the time of each round went: computing and sealing at the slowest site, the network, the opening.

import { byId } from "./dom.js";
import { chartIn, roundAxis, tip } from "./charts.js";
import { append } from "./curves.js";
import { duration, list, t } from "./texts.js";

const PARTS = ["compute", "seal", "network", "open"];
const CROWDED = 960;

/** Shows the times; `load(curves)`, `add(row)` and `clear()` as for the curves. */
export function timesView() {
  let points = [];
  const container = byId("times");
  let chart = null;

  function add(row) {
    if (!PARTS.some((part) => typeof row[`${part}_seconds`] === "number")) return;
    const parts = PARTS.map((part) => row[`${part}_seconds`] ?? 0);
    append(points, [row.round, parts.reduce((sum, part) => sum + part, 0), ...parts]);
  }

  function show() {
    byId("times-card").hidden = points.length === 0;
    if (points.length === 0) return;
    const newest = points.at(-1);
    const parts = list(PARTS.map((part, index) => `${t(`part.${part}`)} ${duration(newest[index + 2])}`));
    container.setAttribute("aria-label", t("times.label", { round: newest[0], parts }));
    byId("times-newest").textContent = container.getAttribute("aria-label");
    chart ??= chartIn(container, (colours) => timesOption(points, colours));
    chart.draw();
  }

  return {
    add,
    show,
    clear: () => (points = []),
    load: (curves) => (points = [...curves.seconds]),
    crowded: () => points.length > CROWDED,
  };
}

function timesOption(points, colours) {
  const text = { color: colours.quiet, fontFamily: colours.font, fontSize: 11 };
  const hues = { compute: colours.test, seal: colours.train, network: colours.good, open: colours.violet };
  return {
    textStyle: { fontFamily: colours.font },
    grid: { left: 6, right: 14, top: 34, bottom: 24, containLabel: true },
    legend: { top: 0, left: 0, icon: "roundRect", itemHeight: 8, textStyle: { ...text, color: colours.ink }, selectedMode: false },
    tooltip: { ...tip(colours), trigger: "axis", formatter: tipText },
    xAxis: roundAxis(colours, "dataMin", "dataMax"),
    yAxis: {
      type: "value",
      axisLabel: { ...text, formatter: (value) => duration(value) },
      splitNumber: 4,
      splitLine: { lineStyle: { color: colours.line } },
    },
    series: PARTS.map((part, index) => ({
      type: "line",
      name: t(`part.${part}`),
      stack: "seconds",
      symbol: "none",
      data: points.map((point) => [point[0], point[index + 2]]),
      lineStyle: { width: 1, color: hues[part] },
      itemStyle: { color: hues[part] },
      areaStyle: { color: hues[part], opacity: 0.55 },
      emphasis: { disabled: true },
    })),
  };
}

function tipText(points) {
  const head = `${t("chart.round")} ${points[0]?.value[0] ?? ""}`;
  return [head, ...points.map((point) => `${point.seriesName}: ${duration(point.value[1])}`)].join("\n");
}
