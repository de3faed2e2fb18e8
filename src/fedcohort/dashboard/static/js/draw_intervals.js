// Intervals by name, as a forest plot: where each value lies, from where to where, and where there is no effect.

import { element } from "./dom.js";
import { plain, short, tip } from "./charts.js";
import { whiskers } from "./draw_bars.js";
import { said, shown, spoken } from "./values.js";
import { figure as digits } from "./texts.js";

const ROW_PIXELS = 28;
const AXIS_PIXELS = 48;
const NARROW = 480;

/** Draws intervals. */
export function drawIntervals(figure) {
  const texts = figure.rows.map((row) => shown(row.value, figure.x.format, figure.interval));
  const label = spoken(figure, figure.rows.map((row, place) => `${said(row.name)} ${texts[place]}`));
  const container = element("div", { attributes: { id: `figure-${figure.name}`, class: "bars", role: "img", "aria-label": label } });
  container.style.height = `${figure.rows.length * ROW_PIXELS + AXIS_PIXELS}px`;
  return { element: container, charts: [{ container, option: (colours, size) => intervalsOption(figure, texts, colours, size) }] };
}

function intervalsOption(figure, texts, colours, { width }) {
  const text = { color: colours.quiet, fontFamily: colours.font, fontSize: 11 };
  const names = figure.rows.map((row) => short(plain(said(row.name)), width < NARROW ? 14 : 28));
  const side = { type: "category", inverse: true, axisTick: { show: false }, axisLine: { show: false, onZero: false } };
  const axisLabel = { ...text, color: colours.ink, interval: 0 };
  return {
    grid: { left: 6, right: 6, top: 4, bottom: 26, containLabel: true },
    tooltip: { ...tip(colours), trigger: "item", formatter: ({ dataIndex }) => `${plain(said(figure.rows[dataIndex].name))}: ${texts[dataIndex]}` },
    xAxis: {
      ...(figure.x.log ? { type: "log", logBase: 2 } : { type: "value" }),
      name: plain(said(figure.x.title)),
      nameLocation: "middle",
      nameGap: 24,
      nameTextStyle: text,
      min: figure.x.low,
      max: figure.x.high,
      scale: true,
      axisLabel: { ...text, hideOverlap: true, formatter: digits },
      splitLine: { lineStyle: { color: colours.line } },
    },
    yAxis: [
      { ...side, data: names, axisLabel },
      { ...side, position: "right", data: texts.map((each) => plain(each)), axisLabel: { ...axisLabel, show: width >= NARROW } },
    ],
    series: [
      {
        type: "scatter",
        symbol: "rect",
        symbolSize: 8,
        data: figure.rows.map(({ value }, place) => [value.number ?? "-", place]),
        itemStyle: { color: colours.test },
        emphasis: { disabled: true },
        ...(figure.reference === null ? {} : { markLine: reference(figure.reference, colours) }),
        z: 4,
      },
      whiskers(figure.rows, colours),
    ],
  };
}

function reference(value, colours) {
  const lineStyle = { color: colours.idle, type: "dashed", width: 1 };
  return { silent: true, symbol: "none", label: { show: false }, lineStyle, data: [{ xAxis: value }] };
}
