// The list of studies, the newest first, narrowed by words and state.

import { byId, element, say } from "./dom.js";
import { date, has, t } from "./texts.js";

const MAX_SHOWN = 200;

/** The name of a state, also of one that this page does not know. */
export const stateName = (state) => t(has(`state.${state}`) ? `state.${state}` : "state.unknown");

/** Shows the list; `onChoose(id)` when a reader picks one. */
export function studiesView(onChoose) {
  const list = byId("studies");
  const [words, state] = [byId("studies-words"), byId("studies-state")];
  let all = [];
  let chosen = null;

  function show() {
    const found = all.filter(fits);
    byId("studies-none").hidden = all.length > 0;
    byId("studies-filter").hidden = all.length === 0;
    say("studies-count", all.length > 0 ? t("studies.count", { found: found.length, all: all.length }) : "");
    const focused = document.activeElement?.dataset?.study;
    list.replaceChildren(...found.slice(0, MAX_SHOWN).map((study) => item(study, study.id === chosen, onChoose)));
    if (focused) list.querySelector(`[data-study="${CSS.escape(focused)}"]`)?.focus();
  }

  function fits(study) {
    const text = `${study.name} ${study.researcher} ${study.id}`.toLocaleLowerCase();
    const asked = words.value.toLocaleLowerCase().split(/\s+/);
    return asked.every((word) => text.includes(word)) && (!state.value || study.state === state.value);
  }

  words.addEventListener("input", show);
  state.addEventListener("change", show);
  return {
    set(studies, id) {
      [all, chosen] = [studies, id];
      show();
    },
  };
}

function item(study, current, onChoose) {
  const words = t("studies.by", { researcher: study.researcher, date: date(study.created_at) });
  const button = element("button", {
    attributes: { type: "button", "aria-current": current, "data-study": study.id },
    children: [
      element("span", { text: study.name, attributes: { class: "title", title: study.name } }),
      element("span", { text: stateName(study.state), attributes: { class: "badge", "data-state": study.state } }),
      element("span", { text: words, attributes: { class: "quiet" } }),
    ],
  });
  button.addEventListener("click", () => onChoose(study.id));
  return element("li", { children: [button] });
}
