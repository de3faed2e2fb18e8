// The federation: the coordinator in the middle, the sites around it, and the same as a table.

import { byId, element, say } from "./dom.js";
import { chartIn, plain, short, tip } from "./charts.js";
import { protectionName } from "./promises.js";
import { list, t, time } from "./texts.js";

const STATES = ["connected", "lost", "invited"];
const COLOUR = { connected: "good", lost: "bad", invited: "idle" };
const LINE = { connected: "solid", lost: "dashed", invited: "dotted" };
// A rounded square with a cross left open, as on a hospital's sign.
const HOSPITAL =
  "path://M6 0H26A6 6 0 0 1 32 6V26A6 6 0 0 1 26 32H6A6 6 0 0 1 0 26V6A6 6 0 0 1 6 0Z" +
  "M13 7V13H7V19H13V25H19V19H25V13H19V7Z";
const PLAIN = { type: "scatter", cursor: "default", emphasis: { disabled: true }, z: 3 };
const MAX_NAMED_SITES = 8;
const MAX_STRONG_LINES = 30;
/** Pixels of a picture in which names of neighbours would run into each other. */
const NARROW = 400;

/** Shows the federation; `set(sites)` with the coordinator's list, `mark(id, state)` with one site's change. */
export function federationView() {
  let sites = [];
  const graph = byId("federation-graph");
  const chart = chartIn(graph, (colours, size) => graphOption(sites, colours, size));

  function show() {
    const connected = sites.filter((site) => site.state === "connected").length;
    const known = sites.length > 0;
    say("federation-count", t(known ? "federation.connected" : "federation.none", { connected, all: sites.length }));
    const spoken = list(sites.map((site) => `${site.id}: ${stateName(site.state)}`));
    graph.setAttribute("aria-label", t("federation.label", { sites: spoken || t("federation.none") }));
    byId("sites").hidden = !known;
    byId("sites").tBodies[0].replaceChildren(...sites.map(row));
    chart.draw();
  }

  return {
    /** Say which protection the study that is shown has between the sites and the coordinator. */
    use(protection) {
      say("federation-protection", protection ? t("federation.protection", { name: protectionName(protection) }) : "");
    },
    set(list) {
      sites = list.map((site) => ({ ...site, id: String(site.id), state: known(site.state) }));
      show();
    },
    mark(id, state) {
      const site = sites.find((each) => each.id === id);
      if (site) site.state = known(state);
      show();
      return Boolean(site);
    },
  };
}

const known = (state) => (STATES.includes(state) ? state : "invited");
const stateName = (state) => t(`site.${state}`);

function row(site) {
  const never = site.last_seen ? time(site.last_seen) : t("site.never");
  const state = element("span", { text: stateName(site.state), attributes: { class: "state", "data-state": site.state } });
  return element("tr", {
    children: [
      element("td", { text: site.id }),
      element("td", { children: [state] }),
      element("td", { text: site.state === "connected" ? t("site.now") : never, attributes: { class: "quiet" } }),
    ],
  });
}

/** Points and lines in the container's own pixels. */
function graphOption(sites, colours, { width, height }) {
  const { middle, places } = ring(sites.length, width, height);
  const pixels = { type: "value", min: 0, show: false };
  const letters = sites.length <= 4 ? 18 : width < NARROW ? 9 : 12;
  const points = sites.map((site, index) => siteNode(site, places[index], { count: sites.length, letters }, colours));
  const grounds = points.map(({ value, symbolSize }) => ({ value, symbolSize: symbolSize - 2 }));
  return {
    tooltip: { ...tip(colours), formatter: (item) => item.data.tip ?? "" },
    grid: { left: 0, right: 0, top: 0, bottom: 0 },
    xAxis: { ...pixels, max: width },
    yAxis: { ...pixels, max: height, inverse: true },
    series: [
      ...STATES.map((state) => edges(state, sites, middle, places, colours)),
      { ...PLAIN, symbol: "roundRect", silent: true, itemStyle: { color: colours.card, opacity: 1 }, data: grounds, tooltip: { show: false } },
      { ...PLAIN, symbol: HOSPITAL, data: points },
      { ...PLAIN, symbol: "circle", data: [coordinatorNode(middle, colours)] },
    ],
  };
}

/** One line from the coordinator to each site of a state; a null lifts the pen. */
function edges(state, sites, middle, places, colours) {
  const centre = [middle.x, middle.y];
  const data = sites.flatMap((site, index) => (site.state === state ? [centre, [places[index].x, places[index].y], [null, null]] : []));
  const width = sites.length > MAX_STRONG_LINES ? 1 : 2;
  const lineStyle = { color: colours[COLOUR[state]], width, type: LINE[state], opacity: 0.7 };
  return { type: "line", data, symbol: "none", silent: true, lineStyle, tooltip: { show: false }, z: 1 };
}

/** The coordinator's and the sites' pixels: a ring that is stretched until it fills the picture. */
function ring(count, width, height) {
  const first = count === 2 ? Math.PI : count === 4 ? -0.75 * Math.PI : -0.5 * Math.PI;
  const angles = Array.from({ length: count }, (_, index) => first + (2 * Math.PI * index) / count);
  const across = stretch(angles.map(Math.cos), width / 2, width / 2 - 62);
  const down = stretch(angles.map(Math.sin), height / 2, height / 2 - 60);
  const middle = { x: across(0), y: down(0) };
  const places = angles.map((angle) => ({ x: across(Math.cos(angle)), y: down(Math.sin(angle)) }));
  return { middle, places: places.map((at) => ({ ...at, above: at.y < middle.y - 1 })) };
}

/** Maps -1 … 1 to pixels around `centre`, so that these values fill `reach` to both sides. */
function stretch(values, centre, reach) {
  const [low, high] = [Math.min(0, ...values), Math.max(0, ...values)];
  const scale = high - low > 0.1 ? Math.min(2 / (high - low), Math.SQRT2) * reach : 0;
  return (value) => centre + scale * (value - (low + high) / 2);
}

/** The site's sign; a ground keeps its line from showing through the cross. */
function siteNode(site, { x, y, above }, { count, letters }, colours) {
  const colour = colours[COLOUR[site.state]];
  const name = `{name|${short(plain(site.id), letters)}}`;
  return {
    value: [x, y],
    tip: `${plain(site.id)}\n${stateName(site.state)}`,
    symbolSize: Math.max(7, Math.min(32, 480 / count)),
    itemStyle: { color: colour, opacity: 1 },
    label: {
      show: count <= MAX_NAMED_SITES,
      position: above ? "top" : "bottom",
      distance: 5,
      formatter: `${name}\n{state|${stateName(site.state)}}`,
      rich: {
        name: { color: colours.ink, fontFamily: colours.font, fontSize: 12, fontWeight: 600, lineHeight: 16 },
        state: { color: colour, fontFamily: colours.font, fontSize: 11, lineHeight: 14 },
      },
    },
  };
}

function coordinatorNode({ x, y }, colours) {
  return {
    value: [x, y],
    tip: t("federation.coordinator"),
    symbolSize: 52,
    itemStyle: { color: colours.accent, opacity: 1 },
    // The coordinator adds up, hence the sign of a sum.
    label: { show: true, formatter: "Σ", color: colours.card, fontSize: 26, fontFamily: "serif", fontWeight: 600 },
  };
}
