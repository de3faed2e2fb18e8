// Permutation importance of a finished study's columns, as bars; under privacy with what noise leaves uncertain.

import { byId, say } from "./dom.js";
import { chartIn, plain, short, tip } from "./charts.js";
import { list, number, t } from "./texts.js";

const MAX_BARS = 20;
const BAR_PIXELS = 28;
const AXIS_PIXELS = 36;

/** Shows the bars; `show(report, study)` when there is one, `hide(note)` while there is none. */
export function importanceView() {
  let bars = [];
  let chart = null;
  const container = byId("importance");

  function hide(note) {
    bars = [];
    container.hidden = true;
    byId("importance-png").hidden = true;
    say("importance-note", note);
  }

  function show(report, study) {
    const all = barsOf(report);
    if (all.length === 0) return hide(t("importance.none"));
    bars = all.slice(0, MAX_BARS);
    const more = all.length > bars.length ? t("importance.more", { shown: bars.length, all: all.length }) : "";
    say("importance-note", [t("importance.axis"), more].filter(Boolean).join(" · "));
    container.hidden = false;
    container.style.height = `${bars.length * BAR_PIXELS + AXIS_PIXELS}px`;
    const columns = list(bars.map((bar) => `${bar.column} ${withInterval(bar.loss, bar.lossEnds)}`));
    container.setAttribute("aria-label", t("importance.label", { columns }));
    const link = byId("importance-png");
    link.href = `/feature_importance?study=${encodeURIComponent(study)}`;
    link.hidden = false;
    chart ??= chartIn(container, (colours, size) => barOption(bars, colours, size));
    chart.draw();
  }

  return { show, hide };
}

function barsOf(report) {
  const entries = Object.entries(report.importance ?? {});
  const bars = entries.map(([column, entry]) => ({
    column,
    loss: entry?.loss_increase,
    lossEnds: endsOf(entry, "loss_increase"),
    auc: entry?.auc_drop,
    aucEnds: endsOf(entry, "auc_drop"),
  }));
  return bars.filter((bar) => typeof bar.loss === "number").sort((a, b) => b.loss - a.loss);
}

function endsOf(entry, metric) {
  const ends = [entry?.[`${metric}_low`], entry?.[`${metric}_high`]];
  return ends.every((end) => typeof end === "number") ? ends : null;
}

function withInterval(value, ends) {
  return ends ? `${number(value)} (${t("tile.interval", { low: number(ends[0]), high: number(ends[1]) })})` : number(value);
}

function barOption(bars, colours, { width }) {
  const text = { color: colours.quiet, fontFamily: colours.font, fontSize: 11 };
  const letters = width < 480 ? 14 : 28;
  return {
    grid: { left: 6, right: 20, top: 4, bottom: 4, containLabel: true },
    tooltip: { ...tip(colours), trigger: "item", formatter: (item) => tipText(bars[item.dataIndex]) },
    xAxis: {
      type: "value",
      splitNumber: width < 480 ? 3 : 5,
      axisLabel: { ...text, hideOverlap: true },
      splitLine: { lineStyle: { color: colours.line } },
    },
    yAxis: {
      type: "category",
      inverse: true,
      data: bars.map((bar) => short(plain(bar.column), letters)),
      axisLabel: { ...text, color: colours.ink, fontSize: 12, interval: 0 },
      axisTick: { show: false },
      axisLine: { lineStyle: { color: colours.idle }, onZero: true },
    },
    series: [
      { type: "bar", data: bars.map((bar) => barItem(bar, colours)), barWidth: "62%", emphasis: { disabled: true } },
      whiskers(bars, colours),
    ],
  };
}

function barItem(bar, colours) {
  const up = bar.loss >= 0;
  const borderRadius = up ? [0, 3, 3, 0] : [3, 0, 0, 3];
  return { value: bar.loss, itemStyle: { color: up ? colours.test : colours.train, borderRadius } };
}

/** One line over each bar, from end to end of its interval, and broken between two bars. */
function whiskers(bars, colours) {
  const points = bars.flatMap((bar, place) =>
    bar.lossEnds ? [[bar.lossEnds[0], place], [bar.lossEnds[1], place], ["-", place]] : [],
  );
  const lineStyle = { color: colours.ink, width: 1.5 };
  const mark = { symbol: "rect", symbolSize: [1.5, 9], itemStyle: { color: colours.ink } };
  return { type: "line", data: points, silent: true, showAllSymbol: true, lineStyle, ...mark, z: 3 };
}

function tipText(bar) {
  const lines = [plain(bar.column), `${t("importance.loss")}: ${withInterval(bar.loss, bar.lossEnds)}`];
  if (typeof bar.auc === "number") lines.push(`${t("importance.auc")}: ${withInterval(bar.auc, bar.aucEnds)}`);
  return lines.join("\n");
}
