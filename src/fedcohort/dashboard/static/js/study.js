// One study: what it is doing in plain words, its curves, and what came of it.

import { atNextFrame, byId, element, say, soon } from "./dom.js";
import { showCancel } from "./cancel.js";
import { curvesView } from "./curves.js";
import { figuresView } from "./figures.js";
import { showPromises } from "./promises.js";
import { Refusal, follow, get } from "./rest.js";
import { stateName } from "./studies.js";
import { date, has, short, t } from "./texts.js";
import { timesView } from "./times.js";
import { showTraffic } from "./traffic.js";

const ENDED = new Set(["finished", "failed", "cancelled", "refused"]);
const RETRY_MS = 2000;

/** Shows the study of this id and follows it, null that there is none yet; `onShow(study)` with each that is. */
export function studyView(onShow) {
  const [curves, times, figures] = [curvesView(), timesView(), figuresView()];
  let id; // undefined until something is chosen: that there is no study is worth a word, too
  let study = null;
  let report = null;
  let thinning = false;
  let stop = () => {};

  const draw = atNextFrame(() => study && show());
  const refresh = soon(load);

  function choose(next) {
    if (next === id) return;
    stop();
    [id, study, report, stop] = [next, null, null, () => {}];
    for (const view of [curves, times]) view.clear();
    figures.hide(t("figures.pending"));
    byId("study-whole").hidden = true;
    say("study-none", next === null ? t("study.none") : "");
    if (next !== null) load();
  }

  const path = (what = "") => `/api/studies/${encodeURIComponent(study?.id ?? id)}${what}`;

  async function load() {
    const mine = id;
    try {
      const asked = [get(path()), study === null ? get(path("/curves")) : null];
      const [detail, drawn] = await Promise.all(asked);
      if (mine !== id) return;
      if (drawn !== null && study === null) begin(detail, drawn);
      study = detail;
      draw();
      if (ended() && report === null) await loadReport(mine);
    } catch (error) {
      if (mine !== id) return;
      const missing = error instanceof Refusal && error.status === 404;
      if (study === null && missing) say("study-none", t("study.missing"));
      // What is still running is asked again with its next event; a finished study has no more of them.
      else if (study === null || (ended() && report === null)) setTimeout(() => mine === id && load(), RETRY_MS);
    }
  }

  const ended = () => study.state === "finished";

  /** The past comes in few points, and what happens from now on as events. */
  function begin(detail, drawn) {
    study = detail;
    onShow(study);
    for (const view of [curves, times]) view.load(drawn);
    stop = follow(path("/events"), { after: drawn.last, onEvent, onLink });
  }

  async function loadReport(mine) {
    const [found, drawn] = await Promise.all([get(path("/report")), get(path("/figures"))]);
    if (mine !== id) return;
    report = found;
    figures.show(drawn.figures, study.id);
    draw();
  }

  function onEvent(kind, data) {
    if (kind === "metrics") {
      for (const view of [curves, times]) view.add(data);
      if (!thinning && (curves.crowded() || times.crowded())) thin();
    } else if (kind === "time") times.add(data);
    else refresh();
    draw();
  }

  /** A long study's points have become too many to draw at once. */
  async function thin() {
    const mine = id;
    thinning = true;
    const drawn = await get(path("/curves")).catch(() => null);
    thinning = false;
    if (mine !== id || drawn === null) return;
    for (const view of [curves, times]) view.load(drawn);
    draw();
  }

  function onLink(state) {
    if (state === "live") refresh();
  }

  function show() {
    byId("study-whole").hidden = false;
    say("study-none", "");
    byId("study-name").textContent = study.name;
    document.title = `${study.name} · ${t("title")}`;
    const state = byId("study-state");
    state.textContent = stateName(study.state);
    state.dataset.state = study.state;
    showProgress();
    say("study-asked", asked());
    byId("study-sites").replaceChildren(...(study.sites ?? []).map(chip));
    showTraffic(study.sites ?? []);
    showPromises(study, report);
    showFiles();
    showCancel(study, !ENDED.has(study.state));
    showFitting();
    say("study-error", study.error ? failure(study.error) : "");
    if (ENDED.has(study.state) && !ended()) figures.hide("");
    curves.setUnit(study.study?.cohort?.label?.unit ?? "");
    curves.show(t("chart.waiting"));
    times.show();
  }

  /** What has one round, or ended before its first, has no curves by round, and an empty card says nothing. */
  function showFitting() {
    const awaitsRounds = study.rounds > 1 && !ENDED.has(study.state);
    byId("charts-card").hidden = curves.lastRound() === null && !awaitsRounds;
    byId("files-all").textContent = t(study.study?.analysis?.kind === "train" ? "files.all" : "files.results");
  }

  function showProgress() {
    const rounds = Number(study.rounds) || 0;
    const round = Math.min(curves.lastRound() ?? (Number(study.round) || 0), rounds);
    curves.setRounds(rounds);
    const finished = study.state === "finished";
    const progress = byId("study-progress");
    progress.max = Math.max(rounds, 1);
    progress.value = finished ? progress.max : round;
    say("study-sentence", sentence(round, rounds));
  }

  function sentence(round, rounds) {
    let name = study.state;
    if (name === "running" && round === 0) name = "starting";
    if (name === "finished" && rounds <= 1) name = "finished_once";
    return has(`sentence.${name}`) ? t(`sentence.${name}`, { round, rounds }) : stateName(study.state);
  }

  function asked() {
    const words = t("study.asked_by", { researcher: study.researcher, date: date(study.created_at) });
    return `${words} · ${t("study.hash", { hash: String(study.id).slice(0, 12) })}`;
  }

  function showFiles() {
    byId("files").hidden = study.state !== "finished";
    byId("files-document").href = path("/document");
    byId("files-all").href = path("/files");
    byId("files-report").href = path("/report");
  }

  return { choose, id: () => id ?? null };
}

/** What a code means, in the reader's language; what the coordinator says of it is English. */
const meaning = (code) => (has(`code.${code}`) ? t(`code.${code}`) : String(code));

const failure = ({ code, message }) => [code ? meaning(code) : "", message, code].filter(Boolean).join(" · ");

function chip(site) {
  const state = String(site.state);
  const words = t(has(`answer.${state}`) ? `answer.${state}` : "state.unknown");
  const hours = Number(site.release_hours);
  const person = hours > 0 && !site.code ? t("study.release", { hours: short(hours) }) : "";
  const text = [site.id, words, person, site.code ? meaning(site.code) : ""].filter(Boolean).join(" · ");
  return element("li", { text, attributes: { "data-state": state } });
}
