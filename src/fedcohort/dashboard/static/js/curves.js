// A study's metrics by round: the newest values as figures, and one chart a metric.

import { byId, element, say } from "./dom.js";
import { chartIn, splitName } from "./charts.js";
import { STYLES, curveOption } from "./draw_curve.js";
import { isKnown } from "./known.js";
import { list, number, t } from "./texts.js";

const CLASSIFICATION = ["loss", "accuracy", "auc"];
const REGRESSION = ["loss", "mae", "r2"];
const METRICS = [...new Set([...CLASSIFICATION, ...REGRESSION])];
const SPLITS = ["test", "train"];
/** More points than this and the dashboard is asked to thin the curves out anew. */
const CROWDED = 960;
const MAX_MARKED_POINTS = 40;
/** What is a share ends at 1, and the axis with it, where a rounded tick would lie beyond. */
const SHARES = new Set(["accuracy", "auc"]);
const endOf = (metric) => (SHARES.has(metric) ? ({ max }) => (max > 0.8 ? 1 : null) : null);

/**
 * Shows curves; `load(curves)` with what the dashboard has thinned out, `add(row)` with each round that comes
 * after, `clear()` for another study.
 */
export function curvesView() {
  let series = new Map();
  let charts = new Map();
  let rounds = 0;
  let unit = "";

  function clear() {
    series = new Map();
    rebuild([]);
    byId("tiles").replaceChildren();
  }

  function load(curves) {
    series = new Map();
    for (const [split, metrics] of Object.entries(curves.splits)) {
      for (const [metric, points] of Object.entries(metrics)) of(metric, split).push(...points);
    }
  }

  function of(metric, split) {
    if (!series.has(metric)) series.set(metric, {});
    return (series.get(metric)[split] ??= []);
  }

  function add(row) {
    for (const metric of METRICS) {
      if (typeof row[metric] !== "number") continue;
      const point = [row.round, row[metric], row[`${metric}_low`] ?? null, row[`${metric}_high`] ?? null];
      append(of(metric, row.split), point);
    }
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
        inner = chartIn(container, (colours) => optionOf(metric, curves(metric), range(), colours));
        if (inner.chart) inner.chart.group = "study";
      },
      draw: () => inner.draw(),
      dispose: () => inner.dispose(),
    };
  }

  const curves = (metric) => {
    const made = SPLITS.map((split) => [split, series.get(metric)?.[split] ?? []]);
    return Object.fromEntries(made.filter(([, points]) => points.length > 0));
  };

  const all = () => [...series.values()].flatMap((splits) => SPLITS.map((split) => splits[split] ?? []));

  function range() {
    const known = all().filter((points) => points.length > 0);
    const first = Math.min(1, ...known.map((points) => points[0][0]));
    return { first, last: Math.max(rounds, ...known.map((points) => points.at(-1)[0])) };
  }

  function lastRound() {
    const ends = all().flatMap((points) => (points.length > 0 ? [points.at(-1)[0]] : []));
    return ends.length > 0 ? Math.max(...ends) : null;
  }

  function show(note) {
    const metrics = shown(new Set(series.keys()));
    if (metrics.join() !== [...charts.keys()].join()) rebuild(metrics);
    say("charts-note", metrics.length > 0 ? "" : note);
    for (const split of SPLITS) byId("legend").querySelector(`.${split}`).hidden = !metrics.some((metric) => curves(metric)[split]);
    const main = SPLITS.find((split) => metrics.some((metric) => curves(metric)[split]));
    byId("tiles").replaceChildren(...metrics.flatMap((metric) => tile(metric, unit, main, curves(metric)[main]?.at(-1))));
    for (const [metric, chart] of charts) {
      chart.container.setAttribute("aria-label", spoken(metric));
      chart.draw();
    }
  }

  function spoken(metric) {
    const said = ([, value, low, high]) => (isKnown(metric, low, high) ? number(value) : t("figure.unknown_word"));
    const values = Object.entries(curves(metric)).map(([split, points]) => `${splitName(split)} ${said(points.at(-1))}`);
    return t("chart.label", { metric: t(`metric.${metric}`), round: lastRound(), values: list(values) });
  }

  return {
    clear,
    load,
    show,
    add,
    setRounds: (count) => (rounds = count),
    setUnit: (name) => (unit = name),
    lastRound,
    crowded: () => all().some((points) => points.length > CROWDED),
  };
}

/** One metric by round: held-out patients solid, training patients dashed; a band where noise leaves an interval. */
function optionOf(metric, curves, rounds, colours) {
  const title = t(`metric.${metric}`);
  const point = ([x, y, low, high]) => ({ x, y, low, high, known: isKnown(metric, low, high) });
  const figure = {
    title,
    interval: "tile.interval",
    x: { title: t("chart.round"), low: rounds.first, high: Math.max(rounds.last, rounds.first + 1), format: "count" },
    y: { title, low: null, high: endOf(metric), format: "metric" },
    lines: Object.entries(curves).map(([split, points]) => ({ name: splitName(split), points: points.map(point) })),
  };
  const styles = Object.keys(curves).map((split) => STYLES[SPLITS.indexOf(split)]);
  return curveOption(figure, colours, { styles, symbols: MAX_MARKED_POINTS, named: true });
}

/** A round that comes again replaces what came since it first did. */
export function append(points, point) {
  while (points.length > 0 && points.at(-1)[0] >= point[0]) points.pop();
  points.push(point);
}

function shown(present) {
  const family = present.has("mae") ? REGRESSION : CLASSIFICATION;
  return family.filter((metric) => present.has(metric));
}

/** The newest value; an absolute error has the unit of what is predicted. */
function tile(metric, unit, split, point) {
  if (!point) return [];
  const [round, value, low, high] = point;
  const between = typeof low === "number" && typeof high === "number";
  const known = isKnown(metric, low, high);
  const shown = known ? number(value) : t("figure.unknown", { low: number(low), high: number(high) });
  const words = between && known ? [t("tile.interval", { low: number(low), high: number(high) })] : [];
  const tile = element("section", {
    attributes: { class: "card tile" },
    children: [
      element("h2", { text: metric === "mae" && unit ? `${t(`metric.${metric}`)} (${unit})` : t(`metric.${metric}`) }),
      element("p", { text: shown, attributes: { class: known ? "value" : "unknown", "data-metric": metric } }),
      ...words.map((text) => element("p", { text, attributes: { class: "quiet", "data-interval": metric } })),
      element("p", { text: t("tile.at", { split: splitName(split), round }), attributes: { class: "quiet" } }),
    ],
  });
  return [tile];
}
