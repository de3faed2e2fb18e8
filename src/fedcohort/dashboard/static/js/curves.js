// A study's metrics by round: the newest values as figures, and one chart a metric.

import { byId, element, say } from "./dom.js";
import { chartIn, lineOption, splitName } from "./charts.js";
import { number, t } from "./texts.js";

const CLASSIFICATION = ["loss", "accuracy", "auc"];
const REGRESSION = ["loss", "mae", "r2"];
const SPLITS = ["test", "train"];

/** Shows curves; `add(row)` with each row as it comes, `clear()` for another study. */
export function curvesView() {
  let rows = new Map();
  let charts = new Map();
  let rounds = 0;

  function clear() {
    rows = new Map();
    rebuild([]);
    byId("tiles").replaceChildren();
  }

  function rebuild(metrics) {
    for (const chart of charts.values()) chart.dispose();
    charts = new Map(metrics.map((metric) => [metric, panel(metric)]));
    byId("charts").replaceChildren(...[...charts.values()].map((chart) => chart.figure));
    for (const chart of charts.values()) chart.start();
    byId("legend").hidden = metrics.length === 0;
  }

  function panel(metric) {
    const container = element("div", { attributes: { class: "chart", role: "img" } });
    const figure = element("div", { children: [element("h3", { text: t(`metric.${metric}`) }), container] });
    let inner = { draw() {}, dispose() {} };
    return {
      figure,
      container,
      start() {
        inner = chartIn(container, (colours) => lineOption(metric, curves(metric), range(), colours));
        if (inner.chart) inner.chart.group = "study";
      },
      draw: () => inner.draw(),
      dispose: () => inner.dispose(),
    };
  }

  const ofSplit = (split) => [...rows.values()].filter((row) => row.split === split).sort((a, b) => a.round - b.round);

  function curves(metric) {
    const point = (row) => [row.round, row[metric] ?? null, row[`${metric}_low`] ?? null, row[`${metric}_high`] ?? null];
    const made = SPLITS.map((split) => [split, ofSplit(split).map(point)]);
    return Object.fromEntries(made.filter(([, points]) => points.length > 0));
  }

  function range() {
    const all = [...rows.values()].map((row) => row.round);
    const seen = all.reduce(([low, high], round) => [Math.min(low, round), Math.max(high, round)], [Infinity, 0]);
    return { first: Math.min(seen[0], 1), last: Math.max(seen[1], rounds) };
  }

  function show(note) {
    const metrics = shown([...rows.values()]);
    if (metrics.join() !== [...charts.keys()].join()) rebuild(metrics);
    say("charts-note", rows.size ? "" : note);
    const main = SPLITS.find((split) => ofSplit(split).length > 0);
    const newest = main ? ofSplit(main).at(-1) : null;
    byId("tiles").replaceChildren(...metrics.map((metric) => tile(metric, main, newest)));
    for (const [metric, chart] of charts) {
      chart.container.setAttribute("aria-label", spoken(metric, newest));
      chart.draw();
    }
  }

  function spoken(metric, newest) {
    const known = SPLITS.filter((split) => ofSplit(split).length > 0);
    const values = known.map((split) => `${splitName(split)} ${number(ofSplit(split).at(-1)[metric])}`);
    return t("chart.label", { metric: t(`metric.${metric}`), round: newest?.round, values: values.join(", ") });
  }

  return {
    clear,
    show,
    add: (row) => rows.set(`${row.split} ${row.round}`, row),
    setRounds: (count) => (rounds = count),
    lastRound: () => (rows.size ? Math.max(...[...rows.values()].map((row) => row.round)) : null),
  };
}

function shown(rows) {
  const present = (metric) => rows.some((row) => typeof row[metric] === "number");
  const family = present("mae") ? REGRESSION : CLASSIFICATION;
  return rows.length ? family.filter(present) : [];
}

function tile(metric, split, row) {
  return element("section", {
    attributes: { class: "card tile" },
    children: [
      element("h2", { text: t(`metric.${metric}`) }),
      element("p", { text: number(row[metric]), attributes: { class: "value", "data-metric": metric } }),
      ...interval(metric, row),
      element("p", { text: t("tile.at", { split: splitName(split), round: row.round }), attributes: { class: "quiet" } }),
    ],
  });
}

function interval(metric, row) {
  const [low, high] = [row[`${metric}_low`], row[`${metric}_high`]];
  if (typeof low !== "number" || typeof high !== "number") return [];
  const text = t("tile.interval", { low: number(low), high: number(high) });
  return [element("p", { text, attributes: { class: "quiet", "data-interval": metric } })];
}
