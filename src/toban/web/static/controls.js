// The range of time, the refresh and the address of a page with charts.

const SECONDS = { s: 1, m: 60, h: 3600 };
const BUSY_SECONDS = 2;

/*
Binds a form with the fields `from`, `to` and perhaps `refresh`. Returns the controls: `range()`, `setRange(from, to)`,
`mark(error)`, `remember()`, `recall()`, `schedule()`, `shift(halves)`, `zoomOut()`, `keys(texts)`.

`load()`      is called when something has changed
`span()`      returns the shown times in milliseconds, null while nothing is shown
`isBusy()`    tells whether somebody reads: a refresh waits
`write(parameters)`, `read(parameters)`   keep what else the address says
*/
export function openControls(form, { load, span, isBusy = () => false, write = () => null, read = () => null }) {
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
    const found = /^(\d+)([smh])$/.exec(fields.refresh?.value || "");
    // A range that has ended does not change.
    if (!found || !fields.to.value.startsWith("now") || document.hidden) return;
    timer = setTimeout(() => (isBusy() ? schedule(BUSY_SECONDS) : load()), (seconds || found[1] * SECONDS[found[2]]) * 1000);
  }

  // Marks the range where it is why something failed; with no error it is valid.
  function mark(error) {
    const isWrong = error?.fields?.some((it) => it === "from" || it === "to") ?? false;
    for (const it of [fields.from, fields.to]) if (isWrong) it.setAttribute("aria-invalid", "true"); else it.removeAttribute("aria-invalid");
  }

  const acts = { back: () => shift(-1), forward: () => shift(1), out: zoomOut };
  for (const it of form.querySelectorAll(".group")) it.hidden = false;
  form.addEventListener("click", (event) => acts[event.target.closest("[data-act]")?.dataset.act]?.());
  form.addEventListener("submit", (event) => { event.preventDefault(); changed(); });
  form.addEventListener("change", (event) => { if (event.target.matches("select")) changed(); });
  addEventListener("popstate", () => { recall(); load(); });
  document.addEventListener("visibilitychange", () => { if (document.hidden) clearTimeout(timer); else load(); });

  const keys = (texts) => [
    { keys: "t ArrowLeft", text: texts.earlier, run: acts.back },
    { keys: "t ArrowRight", text: texts.later, run: acts.forward },
    { keys: "t z", text: texts["zoom-out"], run: acts.out },
    { keys: "d r", text: texts["refresh-now"], run: load },
  ];
  return { range, setRange, mark, remember, recall, schedule, shift, zoomOut, keys };
}
