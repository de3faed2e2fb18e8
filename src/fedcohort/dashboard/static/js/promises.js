// What is protected from whom, in one sentence, and the privacy budget that a study has.

import { byId, say } from "./dom.js";
import { has, short, t } from "./texts.js";

/** Say what the study promises; `report` only once it has ended. */
export function showPromises(study, report) {
  const asked = study.study ?? {};
  say("study-protection", sentence(asked));
  const privacy = asked.privacy;
  byId("budget-card").hidden = !privacy;
  if (!privacy) return;
  const given = { epsilon: short(privacy.epsilon), delta: short(privacy.delta) };
  say("budget-given", t("budget.given", given));
  const spent = report?.privacy?.epsilon_spent;
  const meter = byId("budget-meter");
  meter.hidden = typeof spent !== "number";
  meter.max = privacy.epsilon;
  meter.value = typeof spent === "number" ? Math.min(spent, privacy.epsilon) : 0;
  say("budget-spent", typeof spent === "number" ? t("budget.spent", { epsilon: short(spent) }) : t("budget.pending"));
  const alone = report?.privacy?.epsilon_if_all_others_collude;
  say("budget-alone", typeof alone === "number" ? t("budget.alone", { epsilon: short(alone) }) : "");
}

/** The protection's name as a word of the reader's language. */
export const protectionName = (kind) => (has(`protection.${kind}`) ? t(`protection.${kind}`) : String(kind));

function sentence(asked) {
  const hidden = has(`protected.${asked.protection}`) ? t(`protected.${asked.protection}`) : "";
  const { privacy } = asked;
  const noise = privacy ? t("protected.private", { epsilon: short(privacy.epsilon), delta: short(privacy.delta) }) : t("protected.exact");
  return [hidden, noise].filter(Boolean).join(t("protected.and"));
}
