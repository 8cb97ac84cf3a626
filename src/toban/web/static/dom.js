// Elements, keys and announcements of a page. Texts from outside become text nodes, never HTML.

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children.filter((it) => it !== null && it !== undefined && it !== false));
  return made;
}

// Fills `{name}` in a text.
export function fill(text, values) {
  return text.replace(/\{(\w+)\}/g, (all, name) => (name in values ? values[name] : all));
}

// Requests of a page that nobody has used for a minute say so: they don't keep the session from ending.
let used = Date.now();
for (const name of ["pointerdown", "pointermove", "keydown", "wheel"]) {
  globalThis.addEventListener?.(name, () => { used = Date.now(); }, { passive: true, capture: true });
}
export const background = () => (Date.now() - used > 60_000 ? { "x-toban-background": "1" } : {});

export async function fetchJson(path, parameters, signal) {
  const response = await fetch(`${path}?${new URLSearchParams(parameters)}`, { signal, cache: "no-store", headers: background() });
  const body = await response.json().catch(() => ({}));
  // Problem details have `detail`, errors of Prometheus' API have `error`.
  if (response.status === 401) location.reload();  // the session has ended: the page leads to the sign-in
  if (!response.ok) {
    const fields = (body.errors || []).map((it) => it.field);
    throw Object.assign(new Error(body.detail || body.error || `HTTP ${response.status}`), { fields });
  }
  return body;
}

export function download(name, type, content) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  element("a", { href: address, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// Reads a text to those who don't see the page, at most once a second: the newest of several.
let region = null, spoken = 0, timer = 0;
export function announce(text) {
  if (!region) {
    region = element("p", { class: "unseen", "aria-live": "polite" });
    document.querySelector("main").append(region);
  }
  clearTimeout(timer);
  timer = setTimeout(() => { spoken = Date.now(); region.textContent = text; }, Math.max(0, spoken + 1000 - Date.now()));
}

const SHOWN_KEYS = { ArrowLeft: "←", ArrowRight: "→", Escape: "Esc" };

// Whether a key belongs to the field that has the focus. A box that is ticked takes no letters: one in a dialog that
// was just closed has the focus for a moment longer.
export function isTyping(event) {
  return Boolean(event.target.closest("input:not([type=checkbox], [type=radio], [type=button], [type=submit]), textarea, select, [contenteditable]"));
}

// Keys like "t z" or "v", each `{ keys, text, run }`, which the list of shortcuts names. None acts while somebody writes,
// or where single keys are switched off.
export function bindKeys(bindings) {
  const single = document.getElementById("single-keys");
  for (const { keys, text } of bindings) {
    const shown = keys.split(" ").flatMap((key) => [element("kbd", {}, SHOWN_KEYS[key] || key), " "]);
    document.querySelector("#shortcuts .keys").append(element("div", {}, element("dt", {}, ...shown), element("dd", {}, text)));
  }
  let before = "", since = 0;
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]") || (!single.checked && event.key !== "Escape")) return;
    if (event.key !== "Escape" && isTyping(event)) return;
    const sequence = before && Date.now() - since < 1500 ? `${before} ${event.key}` : event.key;
    const found = bindings.find((it) => it.keys === sequence);
    before = found || !bindings.some((it) => it.keys.startsWith(`${sequence} `)) ? "" : sequence;
    since = Date.now();
    if (!found || found.run(event) === false) return;
    event.preventDefault();
    event.stopPropagation();
  }, true);  // before the chart that has the focus: its arrows are not those of "t ←"
}
