// Zoom with a finger: a drag to the side selects a range of a chart; up and down scrolls the page.

const DISTANCE = 10;
const NOTHING = { left: 0, width: 0, top: 0, height: 0 };

export function bindTouch(chart) {
  const { over } = chart;
  let start = null;
  const place = (event) => Math.max(0, Math.min(over.clientWidth, event.clientX - over.getBoundingClientRect().left));
  const clear = () => { start = null; chart.setSelect(NOTHING, false); };
  const on = (name, run) => over.addEventListener(name, (event) => { if (event.pointerType === "touch") run(event); });

  // A second finger makes it a gesture of the browser.
  on("pointerdown", (event) => { if (event.isPrimary) start = place(event); else clear(); });
  on("pointermove", (event) => {
    if (start === null || !event.isPrimary) return;
    const now = place(event);
    if (!chart.select.width && Math.abs(now - start) < DISTANCE) return;
    over.setPointerCapture(event.pointerId);
    chart.setSelect({ left: Math.min(start, now), width: Math.abs(now - start), top: 0, height: over.clientHeight }, false);
  });
  on("pointerup", (event) => {
    if (start === null || !event.isPrimary) return;
    start = null;
    if (chart.select.width >= DISTANCE) chart.setSelect({ ...chart.select }, true); else clear();
  });
  on("pointercancel", clear);
}
