// The list of studies, the newest first.

import { byId, element } from "./dom.js";
import { date, has, t } from "./texts.js";

const MAX_SHOWN = 200;

/** The name of a state, also of one that this page does not know. */
export const stateName = (state) => t(has(`state.${state}`) ? `state.${state}` : "state.unknown");

/** Shows the list; `onChoose(id)` when a reader picks one. */
export function studiesView(onChoose) {
  const list = byId("studies");
  return {
    set(studies, chosen) {
      byId("studies-none").hidden = studies.length > 0;
      const focused = document.activeElement?.dataset?.study;
      list.replaceChildren(...studies.slice(0, MAX_SHOWN).map((study) => item(study, study.id === chosen, onChoose)));
      if (focused) list.querySelector(`[data-study="${CSS.escape(focused)}"]`)?.focus();
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
