// What a finished study shows: its figures by section, each type drawn by its own file, whatever the analysis.

import { byId, element, say } from "./dom.js";
import { chartIn } from "./charts.js";
import { MAX_BARS, drawBars } from "./draw_bars.js";
import { drawCurve } from "./draw_curve.js";
import { drawIntervals } from "./draw_intervals.js";
import { drawMatrix, drawTable } from "./draw_table.js";
import { said } from "./values.js";
import { count, has, t } from "./texts.js";

const DRAW = { table: drawTable, curve: drawCurve, bars: drawBars, matrix: drawMatrix, intervals: drawIntervals };
const MAX_CHARTS = 24;

/** Shows figures; `show(figures, study)` when there are some, `hide(note)` while there are none. */
export function figuresView() {
  let charts = [];

  function hide(note) {
    for (const chart of charts) chart.dispose();
    charts = [];
    byId("figures").replaceChildren();
    byId("pending-card").hidden = note === "";
    say("pending-note", note);
  }

  function show(figures, study) {
    hide("");
    const known = figures.filter((each) => each.type in DRAW);
    const sections = [...new Set(known.map((each) => each.section))];
    const cards = sections.map((name) => card(name, known.filter((each) => each.section === name), study));
    byId("figures").replaceChildren(...cards.map((each) => each.element));
    charts = cards.flatMap((each) => each.charts.map(({ container, option }) => chartIn(container, option)));
    for (const chart of charts) chart.draw();
  }

  return { show, hide };
}

/** The figures of one section below its heading: tables first, then what is drawn. */
function card(section, figures, study) {
  const heading = has(`${section}.heading`) ? t(`${section}.heading`) : section;
  const tables = figures.filter((each) => each.type === "table").map((each) => panel(each, heading));
  const pictures = figures.filter((each) => each.type !== "table");
  const panels = pictures.slice(0, MAX_CHARTS).map((each) => panel(each, heading));
  const more = pictures.length > panels.length ? [quiet(moreOf(panels.length, pictures.length))] : [];
  const head = element("div", {
    attributes: { class: "head" },
    children: [
      element("h2", { text: heading, attributes: { id: `${section}-heading` } }),
      ...(pictures.length === 1 && pictures[0].type !== "matrix" ? [link(pictures[0], study)] : []),
    ],
  });
  const grid = element("div", { attributes: { class: "charts" }, children: panels.map((each) => each.element) });
  const children = [head, ...tables.map((each) => each.element), ...more, ...(panels.length > 0 ? [grid] : [])];
  const whole = element("section", { attributes: { id: `${section}-card`, class: "card", "aria-labelledby": `${section}-heading` }, children });
  return { element: whole, charts: [...tables, ...panels].flatMap((each) => each.charts) };
}

const quiet = (text) => element("p", { text, attributes: { class: "quiet" } });
const moreOf = (shown, all) => t("figures.more", { shown: count(shown), all: count(all) });

/** A figure below its title and notes; one without a title has its section's heading. */
function panel(figure, heading) {
  const drawn = DRAW[figure.type]({ ...figure, title: said(figure.title) || heading });
  const title = said(figure.title) ? [element("h3", { text: said(figure.title) })] : [];
  const notes = [...figure.notes.map(said), ...notesOn(figure)].map(quiet);
  return { element: element("div", { children: [...title, ...notes, drawn.element] }), charts: drawn.charts };
}

/** What a picture itself needs said: that bars are left out, and how far each may be off. */
function notesOn(figure) {
  if (figure.type !== "bars") return [];
  const left = figure.edges.length === 0 && figure.bars.length > MAX_BARS ? [moreOf(MAX_BARS, figure.bars.length)] : [];
  const error = figure.bars[0]?.value.error;
  return [...left, ...(typeof error === "number" ? [t("described.error", { n: count(Math.ceil(error)) })] : [])];
}

function link(figure, study) {
  const href = `/api/studies/${encodeURIComponent(study)}/figures/${encodeURIComponent(figure.name)}.png`;
  return element("a", { text: t("figures.png"), attributes: { id: `figure-${figure.name}-png`, href, target: "_blank", rel: "noopener" } });
}
