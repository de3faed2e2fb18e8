// What the finished model is worth: ROC curve, calibration, and patients by true and predicted class.

import { byId, element } from "./dom.js";
import { chartIn, splitName, tip } from "./charts.js";
import { isKnown } from "./known.js";
import { count, figure, list, number, percent, t } from "./texts.js";

/** Shows the figures; `show(report, label)` when there is one, `hide()` while there is none. */
export function figuresView() {
  let measured = {};
  let roc = null;
  let calibration = null;

  function hide() {
    byId("figures-card").hidden = true;
  }

  function show(report, label) {
    const split = ["test", "train"].find((name) => report[name]);
    measured = (split && report[split]) || {};
    const has = { roc: measured.roc?.true_positive?.length > 0, calibration: measured.calibration?.length > 0 };
    const matrix = Array.isArray(measured.confusion) ? measured.confusion : [];
    byId("figures-card").hidden = !has.roc && !has.calibration && matrix.length === 0;
    byId("roc-figure").hidden = !has.roc;
    byId("calibration-figure").hidden = !has.calibration;
    byId("confusion-figure").hidden = matrix.length === 0;
    if (byId("figures-card").hidden) return;
    byId("figures-note").textContent = note(split, measured, report.label);
    if (has.roc) {
      byId("roc").setAttribute("aria-label", t("figures.roc_label", { auc: aucOf(measured) }));
      roc ??= chartIn(byId("roc"), (colours) => (measured.roc ? rocOption(measured.roc, colours) : {}));
      roc.draw();
    }
    if (has.calibration) {
      const bins = list(measured.calibration.map((bin) => `${percent(bin.predicted)} ${percent(bin.observed)}`));
      byId("calibration").setAttribute("aria-label", t("figures.calibration_label", { bins }));
      const option = (colours) => (measured.calibration ? calibrationOption(measured.calibration, colours) : {});
      calibration ??= chartIn(byId("calibration"), option);
      calibration.draw();
    }
    showConfusion(matrix, levelsOf(label, matrix.length));
  }

  return { show, hide };
}

const aucOf = ({ auc, auc_low: low, auc_high: high }) => (isKnown("auc", low, high) ? number(auc) : t("figure.unknown_word"));

/** On whom, which level counts as yes, and how far the area under the curve may be off. */
function note(split, measured, label) {
  const said = [t("figures.note", { split: splitName(split) })];
  if (label && "positive" in label) said.push(t("figures.positive", label));
  if (measured.auc_error > 0) said.push(t("figures.auc_error", { error: figure(measured.auc_error) }));
  return said.join(" ");
}

/** What the classes are called in the study, in the order of the matrix. */
function levelsOf(label, classes) {
  const named = (level) => (typeof level === "string" || !label?.column ? String(level) : `${label.column} = ${level}`);
  if (Array.isArray(label?.levels)) return label.levels.map(named);
  const { negative = 0, positive = 1 } = label ?? {};
  if (classes === 2) return [negative, positive].map(named);
  return Array.from({ length: classes }, (_, index) => named(index));
}

function showConfusion(matrix, levels) {
  const head = element("tr", {
    children: [
      element("td"),
      ...levels.map((level) => element("th", { text: t("figures.predicted", { level }), attributes: { scope: "col" } })),
    ],
  });
  const rows = matrix.map((counts, index) => {
    const all = counts.reduce((sum, each) => sum + each, 0);
    const cells = counts.map((each, column) => confusionCell(each, all, index === column));
    const name = element("th", { text: t("figures.true", { level: levels[index] ?? index }), attributes: { scope: "row" } });
    return element("tr", { children: [name, ...cells] });
  });
  byId("confusion").tHead.replaceChildren(head);
  byId("confusion").tBodies[0].replaceChildren(...rows);
}

function confusionCell(each, all, right) {
  const share = all > 0 ? each / all : 0;
  const attributes = { class: right ? "right" : "wrong", "data-share": Math.round(share * 10) };
  return element("td", {
    attributes,
    children: [element("strong", { text: count(each) }), element("span", { text: percent(share), attributes: { class: "quiet" } })],
  });
}

function square(colours, x, y) {
  const text = { color: colours.quiet, fontFamily: colours.font, fontSize: 11 };
  const axis = { type: "value", min: 0, max: 1, nameLocation: "middle", nameTextStyle: text, axisLabel: text, interval: 0.25 };
  const line = { splitLine: { lineStyle: { color: colours.line } } };
  return {
    textStyle: { fontFamily: colours.font },
    grid: { left: 22, right: 16, top: 12, bottom: 26, containLabel: true },
    xAxis: { ...axis, ...line, name: x, nameGap: 26 },
    yAxis: { ...axis, ...line, name: y, nameGap: 36 },
  };
}

function diagonal(colours) {
  const lineStyle = { color: colours.idle, type: "dotted", width: 1 };
  return { type: "line", data: [[0, 0], [1, 1]], symbol: "none", silent: true, lineStyle, tooltip: { show: false } };
}

function curve(colours, data, symbol) {
  const colour = { color: colours.test };
  return { type: "line", data, symbol, symbolSize: 7, lineStyle: { ...colour, width: 2 }, itemStyle: colour, emphasis: { disabled: true } };
}

function rocOption(roc, colours) {
  const [x, y] = [t("document.false_positive"), t("document.true_positive")];
  const points = roc.false_positive.map((rate, index) => [rate, roc.true_positive[index]]);
  const formatter = ([point]) => `${x} ${percent(point.value[0])}\n${y} ${percent(point.value[1])}`;
  const filled = { ...curve(colours, points, "none"), areaStyle: { color: colours.test, opacity: 0.1 } };
  return { ...square(colours, x, y), tooltip: { ...tip(colours), trigger: "axis", formatter }, series: [filled, diagonal(colours)] };
}

function calibrationOption(bins, colours) {
  const [x, y] = [t("document.predicted"), t("document.observed")];
  const points = bins.map((bin) => [bin.predicted, bin.observed, bin.rows]);
  const formatter = ({ value }) =>
    [`${x} ${percent(value[0])}`, `${y} ${percent(value[1])}`, t("figures.rows", { n: count(value[2]) })].join("\n");
  return { ...square(colours, x, y), tooltip: { ...tip(colours), trigger: "item", formatter }, series: [curve(colours, points, "circle"), diagonal(colours)] };
}
