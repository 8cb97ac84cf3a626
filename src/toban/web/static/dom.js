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

export async function fetchJson(path, parameters, signal) {
  const response = await fetch(`${path}?${new URLSearchParams(parameters)}`, { signal, cache: "no-store" });
  const body = await response.json().catch(() => ({}));
  // Problem details have `detail`, errors of Prometheus' API have `error`.
  if (!response.ok) throw new Error(body.detail || body.error || `HTTP ${response.status}`);
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

// Keys like "t z" or "v", each `{ keys, text, run }`; "?" lists them. None acts while somebody writes.
export function bindKeys(bindings, texts) {
  let before = "", since = 0;
  const help = () => {
    const rows = bindings.filter((it) => it.text).map((it) => element("tr", {},
      element("td", {}, ...it.keys.split(" ").flatMap((key) => [element("kbd", {}, SHOWN_KEYS[key] || key), " "])),
      element("td", {}, it.text)));
    const dialog = element("dialog", { class: "keys", "aria-label": texts.keys, onclose: () => dialog.remove() },
      element("h2", {}, texts.keys), element("table", {}, element("tbody", {}, ...rows)),
      element("form", { method: "dialog" }, element("button", {}, texts.close)));
    document.querySelector("main").append(dialog);
    dialog.showModal();
  };
  const all = [...bindings, { keys: "?", run: help }];
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
    if (document.querySelector("dialog[open]")) return;
    if (event.key !== "Escape" && event.target.closest("input, textarea, select, [contenteditable]")) return;
    const sequence = before && Date.now() - since < 1500 ? `${before} ${event.key}` : event.key;
    const found = all.find((it) => it.keys === sequence);
    before = found || !all.some((it) => it.keys.startsWith(`${sequence} `)) ? "" : sequence;
    since = Date.now();
    if (!found || found.run(event) === false) return;
    event.preventDefault();
    event.stopPropagation();
  }, true);  // before the chart that has the focus: its arrows are not those of "t ←"
}
