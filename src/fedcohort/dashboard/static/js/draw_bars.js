// Bars by name, with what is uncertain of each, and histograms.

import { element } from "./dom.js";
import { plain, short, tip } from "./charts.js";
import { said, shown, spoken, written } from "./values.js";
import { figure as digits } from "./texts.js";

export const MAX_BARS = 30;
const BAR_PIXELS = 26;
const AXIS_PIXELS = 32;
const NARROW = 480;

/** Draws bars; with edges a histogram. */
export function drawBars(figure) {
  return figure.edges.length > 0 ? histogram(figure) : named(figure);
}

const textOf = (bar, figure) => shown(bar.value, figure.format, figure.interval);

function named(figure) {
  const bars = figure.bars.slice(0, MAX_BARS);
  const label = spoken(figure, bars.map((bar) => `${said(bar.name)} ${textOf(bar, figure)}`));
  const container = element("div", { attributes: { id: `figure-${figure.name}`, class: "bars", role: "img", "aria-label": label } });
  container.style.height = `${bars.length * BAR_PIXELS + AXIS_PIXELS}px`;
  return { element: container, charts: [{ container, option: (colours, size) => barsOption(figure, bars, colours, size) }] };
}

function barsOption(figure, bars, colours, { width }) {
  const text = { color: colours.quiet, fontFamily: colours.font, fontSize: 11 };
  const counted = figure.format === "count";
  const room = bars.some((bar) => typeof bar.value.error === "number") ? 80 : 44;
  const label = { show: true, position: "right", color: colours.quiet, fontSize: 11, formatter: ({ dataIndex }) => textOf(bars[dataIndex], figure) };
  return {
    grid: { left: 6, right: counted ? room : 20, top: 4, bottom: 4, containLabel: true },
    tooltip: { ...tip(colours), trigger: "item", formatter: ({ dataIndex }) => tipText(bars[dataIndex], figure) },
    xAxis: valueAxis(figure, colours, width < NARROW ? 3 : 5),
    yAxis: {
      type: "category",
      inverse: true,
      data: bars.map((bar) => short(plain(said(bar.name)), width < NARROW ? 16 : 28)),
      axisLabel: { ...text, color: colours.ink, interval: 0 },
      axisTick: { show: false },
      axisLine: { lineStyle: { color: colours.idle }, onZero: true },
    },
    series: [
      { type: "bar", data: bars.map((bar) => item(bar, colours)), barWidth: "62%", emphasis: { disabled: true }, ...(counted ? { label } : {}) },
      whiskers(bars, colours),
    ],
  };
}

function valueAxis(figure, colours, splitNumber) {
  const counted = figure.format === "count";
  return {
    type: "value",
    ...(counted ? { min: 0, minInterval: 1 } : {}),
    splitNumber: counted ? 3 : splitNumber,
    axisLabel: { color: colours.quiet, fontFamily: colours.font, fontSize: 11, hideOverlap: true, formatter: (value) => (counted ? written(value, "count") : digits(value)) },
    splitLine: { lineStyle: { color: colours.line } },
  };
}

function item({ value: { number } }, colours) {
  const up = number >= 0;
  return { value: number, itemStyle: { color: up ? colours.test : colours.train, borderRadius: up ? [0, 3, 3, 0] : [3, 0, 0, 3] } };
}

/** One line over each bar, from end to end of its interval, and broken between two bars. */
export function whiskers(bars, colours) {
  const points = bars.flatMap(({ value: { low, high } }, place) =>
    typeof low === "number" ? [[low, place], [high, place], ["-", place]] : [],
  );
  const lineStyle = { color: colours.ink, width: 1.5 };
  const mark = { symbol: "rect", symbolSize: [1.5, 9], itemStyle: { color: colours.ink } };
  return { type: "line", data: points, silent: true, showAllSymbol: true, lineStyle, ...mark, z: 3 };
}

function tipText(bar, figure) {
  const measured = said(figure.measure);
  const first = measured ? [plain(said(bar.name)), `${measured}: ${textOf(bar, figure)}`] : [`${plain(said(bar.name))}: ${textOf(bar, figure)}`];
  return [...first, ...bar.more.map((each) => `${said(each.name)}: ${shown(each.value, figure.format, figure.interval)}`)].join("\n");
}

function histogram(figure) {
  const bins = figure.bars.map(({ value }, place) => ({ from: figure.edges[place], to: figure.edges[place + 1], n: value.number }));
  const texts = bins.map((bin) => `${digits(bin.from)} – ${digits(bin.to)}`);
  const count = (bin) => (bin.n === null ? "–" : written(bin.n, figure.format));
  const counted = bins.map((bin, place) => `${texts[place]} ${count(bin)}`);
  const label = spoken(figure, counted.filter((_, place) => bins[place].n > 0));
  const container = element("div", { attributes: { id: `figure-${figure.name}`, class: "histogram", role: "img", "aria-label": label } });
  const says = ([{ dataIndex }]) => {
    const place = Math.min(dataIndex, bins.length - 1);
    return `${texts[place]}: ${count(bins[place])}`;
  };
  return { element: container, charts: [{ container, option: (colours) => histogramOption(figure, bins, says, colours) }] };
}

/** A line in steps over its area: each step goes from the lower to the upper edge of its part. */
function histogramOption(figure, bins, says, colours) {
  const text = { color: colours.quiet, fontFamily: colours.font, fontSize: 11 };
  const [first, last] = [bins[0], bins.at(-1)];
  return {
    grid: { left: 6, right: 14, top: 10, bottom: 4, containLabel: true },
    tooltip: { ...tip(colours), trigger: "axis", formatter: says },
    xAxis: {
      type: "value",
      min: first.from,
      max: last.to,
      splitNumber: 4,
      axisLabel: { ...text, hideOverlap: true, formatter: digits },
      splitLine: { show: false },
      axisLine: { lineStyle: { color: colours.idle } },
    },
    yAxis: valueAxis(figure, colours, 3),
    series: [
      {
        type: "line",
        step: "end",
        symbol: "none",
        data: [...bins.map((bin) => [bin.from, bin.n]), [last.to, last.n]],
        lineStyle: { color: colours.test, width: 1.5 },
        itemStyle: { color: colours.test },
        areaStyle: { color: colours.test, opacity: 0.45 },
        emphasis: { disabled: true },
      },
    ],
  };
}
