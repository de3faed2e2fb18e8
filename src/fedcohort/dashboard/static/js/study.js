// One study: what it is doing in plain words, its curves and its feature importance.

import { atNextFrame, byId, element, say, soon } from "./dom.js";
import { curvesView } from "./curves.js";
import { importanceView } from "./importance.js";
import { Refusal, follow, get } from "./rest.js";
import { stateName } from "./studies.js";
import { date, has, t } from "./texts.js";

const ENDED = new Set(["finished", "failed", "refused"]);

/** Shows the study of this id and follows it; null shows that there is none yet. */
export function studyView() {
  const curves = curvesView();
  const importance = importanceView();
  let id = null;
  let study = null;
  let reported = false;
  let stop = () => {};

  const draw = atNextFrame(() => study && show());
  const refresh = soon(load);

  function choose(next) {
    if (next === id) return;
    stop();
    [id, study, reported, stop] = [next, null, false, () => {}];
    curves.clear();
    importance.hide(t("importance.pending"));
    byId("study-whole").hidden = true;
    say("study-none", next === null ? t("study.none") : "");
    if (next !== null) load();
  }

  async function load() {
    const mine = id;
    try {
      const detail = await get(`/api/studies/${encodeURIComponent(mine)}`);
      if (mine !== id) return;
      const first = study === null;
      study = detail;
      if (first) stop = follow(`/api/studies/${encodeURIComponent(mine)}/events`, { onEvent, onLink });
      draw();
      if (study.state === "finished" && !reported) await loadReport(mine);
    } catch (error) {
      if (mine !== id || study !== null) return;
      if (error instanceof Refusal && error.status === 404) say("study-none", t("study.missing"));
      else setTimeout(() => mine === id && load(), 2000);
    }
  }

  async function loadReport(mine) {
    const report = await get(`/api/studies/${encodeURIComponent(mine)}/report`);
    if (mine !== id) return;
    reported = true;
    importance.show(report, study.id);
  }

  function onEvent(kind, data) {
    if (kind === "metrics") curves.add(data);
    else refresh();
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
    const error = study.error;
    say("study-error", error ? [error.message, error.code].filter(Boolean).join(" · ") : "");
    if (ENDED.has(study.state) && study.state !== "finished") importance.hide(t("importance.none"));
    curves.show(note());
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

  function note() {
    const trains = study.study?.analysis?.kind !== "describe";
    return t(trains ? (ENDED.has(study.state) ? "chart.nothing" : "chart.waiting") : "chart.nothing");
  }

  return { choose, id: () => id };
}

function chip(site) {
  const state = String(site.state);
  const words = t(has(`answer.${state}`) ? `answer.${state}` : "state.unknown");
  const text = [site.id, words, site.code].filter(Boolean).join(" · ");
  return element("li", { text, attributes: { "data-state": state } });
}
