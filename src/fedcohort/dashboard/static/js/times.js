// Where the time of each round went: computing and sealing at the slowest site, the network, the opening.

import { byId, say } from "./dom.js";
import { chartIn, roundAxis, tip } from "./charts.js";
import { append } from "./curves.js";
import { duration, list, t } from "./texts.js";

const PARTS = ["compute", "seal", "network", "open"];
const CROWDED = 960;
/** A round that takes so many times what 95 in 100 take is left out of the scale, and told in words. */
const SPIKE = 4;

/** Shows the times; `load(curves)`, `add(row)` and `clear()` as for the curves. */
export function timesView() {
  let points = [];
  const container = byId("times");
  let chart = null;

  function add(row) {
    if (!PARTS.some((part) => typeof row[`${part}_seconds`] === "number")) return;
    const parts = PARTS.map((part) => row[`${part}_seconds`] ?? null);
    append(points, [row.exchange ?? row.round, parts.reduce((sum, part) => sum + (part ?? 0), 0), ...parts]);
  }

  function show() {
    byId("times-card").hidden = points.length === 0;
    if (points.length === 0) return;
    const newest = points.at(-1);
    const told = PARTS.filter((part, index) => newest[index + 2] !== null);
    const parts = list(told.map((part) => `${t(`part.${part}`)} ${duration(newest[PARTS.indexOf(part) + 2])}`));
    const untold = points.some((point) => point[2] === null) ? t("times.untold") : "";
    say("times-note", [spikes(points), untold].filter(Boolean).join(" "));
    container.setAttribute("aria-label", t("times.label", { round: newest[0], parts }));
    say("times-newest", container.getAttribute("aria-label"));
    // A single exchange is said in words; there is nothing to draw.
    container.hidden = points.length < 2;
    if (container.hidden) return;
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

/** Where the axis ends; null for at the slowest round. */
function endOf(points) {
  const whole = points.map((point) => point[1]).sort((one, other) => one - other);
  const usual = whole[Math.floor(0.95 * (whole.length - 1))];
  return whole.at(-1) > SPIKE * usual ? 1.5 * usual : null;
}

/** The rounds that reach beyond the axis, in words. */
function spikes(points) {
  const end = endOf(points);
  if (end === null) return "";
  const beyond = points.filter((point) => point[1] > end);
  const slowest = beyond.reduce((one, other) => (other[1] > one[1] ? other : one));
  return t("times.beyond", { n: beyond.length, exchange: slowest[0], seconds: duration(slowest[1]) });
}

function timesOption(points, colours) {
  const text = { color: colours.quiet, fontFamily: colours.font, fontSize: 11 };
  const told = PARTS.filter((part, index) => points.some((point) => point[index + 2] !== null));
  const hues = { compute: colours.test, seal: colours.train, network: colours.good, open: colours.violet };
  return {
    textStyle: { fontFamily: colours.font },
    grid: { left: 6, right: 14, top: 34, bottom: 24, containLabel: true },
    legend: { top: 0, left: 0, icon: "roundRect", itemHeight: 8, textStyle: { ...text, color: colours.ink }, selectedMode: false },
    tooltip: { ...tip(colours), trigger: "axis", formatter: tipText },
    xAxis: { ...roundAxis(colours, "dataMin", "dataMax"), name: t("times.axis") },
    yAxis: {
      type: "value",
      max: endOf(points),
      axisLabel: { ...text, showMaxLabel: endOf(points) === null, formatter: (value) => duration(value) },
      splitNumber: 4,
      splitLine: { lineStyle: { color: colours.line } },
    },
    series: told.map((part) => ({
      type: "line",
      name: t(`part.${part}`),
      stack: "seconds",
      symbol: "none",
      data: points.map((point) => [point[0], point[PARTS.indexOf(part) + 2]]),
      lineStyle: { width: 1, color: hues[part] },
      itemStyle: { color: hues[part] },
      areaStyle: { color: hues[part], opacity: 0.55 },
      emphasis: { disabled: true },
    })),
  };
}

function tipText(points) {
  const head = `${t("times.axis")} ${points[0]?.value[0] ?? ""}`;
  const told = points.filter((point) => typeof point.value[1] === "number");
  return [head, ...told.map((point) => `${point.seriesName}: ${duration(point.value[1])}`)].join("\n");
}
