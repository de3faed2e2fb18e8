// Building the page. Text only ever enters as text: nothing here reads HTML.

export const byId = (id) => document.getElementById(id);

/** An element with text, attributes and children. */
export function element(tag, { text, attributes = {}, children = [] } = {}) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (text !== undefined) made.textContent = String(text);
  made.append(...children);
  return made;
}

/** Set an element's text and whether it is shown; an empty text hides it. */
export function say(id, text) {
  const target = byId(id);
  if (target.textContent !== text) target.textContent = text;
  target.hidden = text === "";
}

/** Run `work` once, at the next frame, however often it is asked for. */
export function atNextFrame(work) {
  let waiting = false;
  return () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      work();
    });
  };
}

/** Run `work` once the calls have ceased for a moment. */
export function soon(work, milliseconds = 150) {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(work, milliseconds);
  };
}
