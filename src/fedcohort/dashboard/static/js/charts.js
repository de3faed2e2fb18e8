// Apache ECharts as this page uses it: colours from the style sheet, drawn on a canvas, tips as plain text
// (its HTML tips would need inline styles, which the content security policy forbids).

import { atNextFrame } from "./dom.js";
import { t } from "./texts.js";

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

/** What a split is called within a sentence. */
export const splitName = (split) => t(`split.short.${split === "test" ? "test" : "train"}`);

/** Text for a canvas, where braces and bars would be read as styling. */
export const plain = (text) => String(text).replace(/[{}|]/g, " ").replace(/\s+/g, " ");

/** A text of at most `length` letters. */
export const short = (text, length) => (text.length <= length ? text : `${text.slice(0, length - 1)}…`);
