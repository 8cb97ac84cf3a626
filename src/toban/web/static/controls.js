// The range of time, the refresh and the address of a page with charts.

import { announce } from "./dom.js";

const SECONDS = { s: 1, m: 60, h: 3600 };
const BUSY_SECONDS = 2;
const SHORTEST = 30, LONGEST = 3600;  // of what is chosen by the range; the shortest is the interval of collection

// How many seconds there are between two refreshes, 0 for none: with `auto` about as long as a pixel of the range.
export function refreshSeconds(choice, milliseconds, pixels) {
  if (choice === "auto") return Math.max(SHORTEST, Math.min(LONGEST, Math.round(milliseconds / 1000 / Math.max(1, pixels))));
  const found = /^(\d+)([smh])$/.exec(choice || "");
  return found ? found[1] * SECONDS[found[2]] : 0;
}

// The range in a text as it is copied, here or in Grafana; null where there is none.
export function parseRange(text) {
  try {
    const { from, to } = JSON.parse(text);
    const isTime = (it) => (typeof it === "string" && it !== "" && it.length <= 60) || Number.isFinite(it);
    return isTime(from) && isTime(to) ? { from: String(from), to: String(to) } : null;
  } catch {
    return null;
  }
}

/*
Binds a form with the fields `from`, `to` and perhaps `refresh`. Returns the controls: `range()`, `setRange(from, to)`,
`mark(error)`, `remember()`, `recall()`, `schedule()`, `shift(halves)`, `zoomOut()`, `keys()`.

`texts`       the texts that are shown
`load()`      is called when something has changed
`span()`      returns the shown times in milliseconds, null while nothing is shown
`isBusy()`    tells whether somebody reads: a refresh waits
`write(parameters)`, `read(parameters)`   keep what else the address says
*/
export function openControls(form, { texts, load, span, isBusy = () => false, write = () => null, read = () => null }) {
  const fields = form.elements, initial = { from: fields.from.value, to: fields.to.value };
  let timer = 0;

  const range = () => ({ from: fields.from.value, to: fields.to.value });

  // Each change of the range is a step of the browser's history.
  function remember() {
    const address = new URL(location.href);
    address.searchParams.set("from", fields.from.value);
    address.searchParams.set("to", fields.to.value);
    if (fields.refresh) address.searchParams.set("refresh", fields.refresh.value);
    write(address.searchParams);
    if (address.href !== location.href) history.pushState(null, "", address);
  }

  function recall() {
    const parameters = new URL(location.href).searchParams;
    fields.from.value = parameters.get("from") || initial.from;
    fields.to.value = parameters.get("to") || initial.to;
    read(parameters);
  }

  function changed() {
    remember();
    load();
  }

  function setRange(from, to) {
    fields.from.value = String(from);
    fields.to.value = String(to);
    changed();
  }

  function shift(halves) {
    const shown = span();
    if (!shown) return;
    const by = Math.round(((shown[1] - shown[0]) / 2) * halves);
    setRange(shown[0] + by, shown[1] + by);
  }

  function zoomOut() {
    const shown = span();
    if (!shown) return;
    const half = Math.round((shown[1] - shown[0]) / 2);
    setRange(shown[0] - half, shown[1] + half);
  }

  function schedule(seconds = 0) {
    clearTimeout(timer);
    const shown = span(), chosen = refreshSeconds(fields.refresh?.value, shown ? shown[1] - shown[0] : 0, innerWidth);
    // A range that has ended does not change.
    if (!chosen || !fields.to.value.startsWith("now") || document.hidden) return;
    timer = setTimeout(() => (isBusy() ? schedule(BUSY_SECONDS) : load()), (seconds || chosen) * 1000);
  }

  // Marks the range where it is why something failed; with no error it is valid.
  function mark(error) {
    const isWrong = error?.fields?.some((it) => it === "from" || it === "to") ?? false;
    for (const it of [fields.from, fields.to]) if (isWrong) it.setAttribute("aria-invalid", "true"); else it.removeAttribute("aria-invalid");
  }

  // Browsers have a clipboard under https and on this machine alone; elsewhere somebody copies by hand.
  async function copy() {
    const text = JSON.stringify(range());
    try {
      await navigator.clipboard.writeText(text);
      announce(texts["range-copied"]);
    } catch {
      prompt(texts["copy-range"], text);
    }
  }

  async function paste() {
    const text = await navigator.clipboard?.readText().catch(() => null) ?? prompt(texts["paste-range"]);
    if (text === null) return;
    const found = parseRange(text);
    if (found) setRange(found.from, found.to); else announce(texts["no-range"]);
  }

  const acts = { back: () => shift(-1), forward: () => shift(1), out: zoomOut, copy, paste };
  for (const it of form.querySelectorAll(".group")) it.hidden = false;
  form.addEventListener("click", (event) => acts[event.target.closest("[data-act]")?.dataset.act]?.());
  form.addEventListener("submit", (event) => { event.preventDefault(); changed(); });
  form.addEventListener("change", (event) => { if (event.target.matches("select")) changed(); });
  addEventListener("popstate", () => { recall(); load(); });
  document.addEventListener("visibilitychange", () => { if (document.hidden) clearTimeout(timer); else load(); });

  const keys = () => [
    { keys: "t ArrowLeft", text: texts.earlier, run: acts.back },
    { keys: "t ArrowRight", text: texts.later, run: acts.forward },
    { keys: "t z", text: texts["zoom-out"], run: acts.out },
    { keys: "t c", text: texts["copy-range"], run: () => { copy(); } },
    { keys: "t v", text: texts["paste-range"], run: () => { paste(); } },
    { keys: "d r", text: texts["refresh-now"], run: load },
  ];
  return { range, setRange, mark, remember, recall, schedule, shift, zoomOut, keys };
}
