// The page: follows the federation, and the study that its address names or else the newest.

import { byId, say, soon } from "./dom.js";
import { federationView } from "./federation.js";
import { follow, get, reasonOf } from "./rest.js";
import { studiesView } from "./studies.js";
import { studyView } from "./study.js";
import { t } from "./texts.js";

const federation = federationView();
const study = studyView(({ study: asked }) => federation.use(asked?.protection));
const list = studiesView(choose);
let studies = [];

const asked = () => new URLSearchParams(location.search).get("study");

function choose(id) {
  history.pushState(null, "", `?study=${encodeURIComponent(id)}`);
  show();
  byId("study").scrollIntoView({ block: "nearest" });
}

/** The study that the address names, whole or by its first characters, or the newest. */
function show() {
  const name = asked();
  const found = name ? studies.find((each) => each.id.startsWith(name)) : studies[0];
  study.choose(found?.id ?? name);
  list.set(studies, study.id());
}

async function refreshStudies() {
  studies = (await get("/api/studies")).studies ?? [];
  show();
}

async function refreshFederation() {
  federation.set((await get("/api/federation")).sites ?? []);
}

/** A failure here needs no word of its own: the event stream breaks too, tells why, and asks again. */
const quietly = (work) => soon(() => work().catch(() => {}));
const updateStudies = quietly(refreshStudies);
const updateFederation = quietly(refreshFederation);

function onLink(state, error) {
  const pill = byId("link");
  pill.dataset.state = state;
  document.body.dataset.link = state;
  pill.textContent = t(`link.${state}`);
  say("notice", error ? t(reasonOf(error)) : charts());
  if (state === "live") {
    updateStudies();
    updateFederation();
  }
}

const charts = () => (window.echarts ? "" : t("link.no_charts"));

function onEvent(kind, data) {
  if (kind === "site") {
    federation.mark(data.id, data.state);
    updateFederation();
  } else if (kind === "study") {
    updateStudies();
  }
}

/** A link to another language leads to the study that is shown now. */
for (const link of document.querySelectorAll(".languages a")) {
  link.addEventListener("click", () => {
    const here = new URL(location.href);
    here.searchParams.set("language", link.lang);
    link.href = here.search;
  });
}

addEventListener("popstate", show);
for (const first of [refreshStudies, refreshFederation]) first().catch(() => {});
follow("/api/events", { onEvent, onLink });
