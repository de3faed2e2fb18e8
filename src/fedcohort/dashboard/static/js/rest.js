// The dashboard's REST and its event streams, which resume after any break.

const ANSWER_MS = 20_000;
/** A study is taken once the coordinator has loaded what it needs to check it. */
const TAKEN_MS = 100_000;
const SILENCE_MS = 50_000;
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 8_000;

/** An answer that is not the one asked for; `code` says why. */
export class Refusal extends Error {
  constructor(status, code, message) {
    super(message);
    this.status = status;
    this.code = code;
  }
}

/** GET a JSON object. */
export async function get(path) {
  const response = await fetch(path, { signal: AbortSignal.timeout(ANSWER_MS), cache: "no-store" });
  if (!response.ok) throw await refusalOf(response);
  return response.json();
}

/** POST a JSON object and read the one that comes back. */
export async function post(path, body) {
  const csrf = document.querySelector("meta[name=csrf]")?.content ?? "";
  const response = await fetch(path, {
    method: "POST",
    headers: { "Content-Type": "application/json", "X-CSRF-Token": csrf },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(TAKEN_MS),
  });
  if (!response.ok) throw await refusalOf(response);
  return response.json();
}

async function refusalOf(response) {
  if (response.status === 401) location.assign("/login");
  const body = await response.json().catch(() => ({}));
  return new Refusal(response.status, String(body.code ?? "internal"), String(body.message ?? ""));
}

/** The name of the text that tells a reader why nothing comes. */
export function reasonOf(error) {
  if (!(error instanceof Refusal)) return "link.dashboard_gone";
  return { "coordinator-refused": "link.coordinator_refused", busy: "link.busy" }[error.code] ?? "link.coordinator_gone";
}

/**
 * Follow a stream of server-sent events until `stop` is called (WHATWG HTML, section 9.2).
 * `fetch` in place of EventSource: it tells why a stream was refused, and how long it has been silent.
 * A page that nobody sees lets go of its stream, and goes on from the same event when it is seen again.
 */
export function follow(path, { after = 0, onEvent, onLink = () => {} }) {
  let last = String(after);
  let delay = FIRST_RETRY_MS;
  let timer = 0;
  let current = null;
  let stopped = false;

  async function run() {
    const mine = new AbortController();
    current = mine;
    try {
      for await (const event of events(path, last, mine)) {
        if (stopped || current !== mine) return;
        if (event.kind === "open") {
          delay = FIRST_RETRY_MS;
          onLink("live");
        } else {
          last = event.id || last;
          onEvent(event.kind, event.data);
        }
      }
      retry(mine);
    } catch (error) {
      retry(mine, error);
    }
  }

  function retry(mine, error) {
    if (stopped || current !== mine) return;
    if (error) onLink("lost", error);
    timer = setTimeout(run, error ? delay : FIRST_RETRY_MS);
    if (error) delay = Math.min(delay * 2, LONGEST_RETRY_MS);
  }

  function halt() {
    clearTimeout(timer);
    const mine = current;
    current = null;
    mine?.abort();
  }

  function onVisibility() {
    halt();
    if (document.hidden) onLink("paused");
    else run();
  }

  document.addEventListener("visibilitychange", onVisibility);
  if (!document.hidden) run();
  return function stop() {
    stopped = true;
    document.removeEventListener("visibilitychange", onVisibility);
    halt();
  };
}

async function* events(path, last, controller) {
  let silence = setTimeout(() => controller.abort(), SILENCE_MS);
  try {
    const headers = { Accept: "text/event-stream", "Last-Event-ID": last };
    const response = await fetch(path, { headers, signal: controller.signal, cache: "no-store" });
    if (!response.ok) throw await refusalOf(response);
    yield { kind: "open" };
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      clearTimeout(silence);
      silence = setTimeout(() => controller.abort(), SILENCE_MS);
      const blocks = (rest + value).split("\n\n");
      rest = blocks.pop();
      for (const block of blocks) {
        const event = parse(block);
        if (event) yield event;
      }
    }
  } finally {
    clearTimeout(silence);
  }
}

function parse(block) {
  const event = { id: "", kind: "message", data: null };
  for (const line of block.split("\n")) {
    const at = line.indexOf(":");
    const value = line.slice(at + 1).trimStart();
    if (line.startsWith("id:")) event.id = value;
    else if (line.startsWith("event:")) event.kind = value;
    else if (line.startsWith("data:")) event.data = JSON.parse(value);
  }
  return event.data === null ? null : event;
}
