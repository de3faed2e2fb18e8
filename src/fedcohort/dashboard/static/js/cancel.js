// Ending a study, for those whose role may; the page has the button for nobody else.

import { byId, say } from "./dom.js";
import { post } from "./rest.js";
import { t } from "./texts.js";

let shown = null;

/** Offer to cancel this study while it is open. */
export function showCancel(study, open) {
  const button = byId("study-cancel");
  if (!button) return;
  shown = study;
  button.hidden = !open;
  button.onclick ??= cancel;
}

async function cancel() {
  const study = shown;
  if (!confirm(t("cancel.sure", { name: study.name }))) return;
  try {
    await post(`/api/studies/${encodeURIComponent(study.id)}/cancel`, {});
  } catch (error) {
    say("study-error", t("cancel.failed", { reason: error.message }));
  }
}
