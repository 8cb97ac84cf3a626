// Draws the panels of a board.

import { clock, drawTimeSeries, last, missingMetrics, pageColor, toImage } from "./chart.js";
import { openControls } from "./controls.js";
import { bindKeys, download, element, fetchJson, fill } from "./dom.js";
import { formatValue } from "./format.js";

const root = document.getElementById("board");
const note = document.getElementById("note");
const form = document.getElementById("controls");
const language = root.dataset.language;
const texts = JSON.parse(root.dataset.texts);
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
const DAYS = { "1d": 1, "7d": 7 };
const DAY = 86_400_000;
const DESCRIBED = 20;  // queries that are described at once
const REASONS = 2;

const state = { board: null, data: null, before: null, charts: new Map(), chosen: new Map(), tables: new Set(), described: new Map(), request: null, fetched: 0, full: null };

function level(panel, value) {
  let found = panel.base_level;
  for (const threshold of panel.thresholds) if (value >= threshold.value) found = threshold.level;
  return found;
}

const format = (panel, value) => formatValue(value, panel.unit, language);
// What has no value at the end of the range has ended, and is not shown as if it were now.
const isLive = (series) => series.values.slice(-2).some((it) => it !== null);
const figureOf = (place) => root.querySelector(`[data-panel="${place}"]`);
const titleOf = (panel) => (language === "ja" && panel.title_ja) || panel.title;

// What the address says.

const selects = () => form.querySelectorAll("[data-variable]");

function variables() {
  const found = {};
  for (const select of selects()) if (select.value) found[select.dataset.variable] = [select.value];
  return found;
}

function write(parameters) {
  const put = (name, value) => { if (value) parameters.set(name, value); else parameters.delete(name); };
  for (const select of selects()) put(`var-${select.dataset.variable}`, select.value);
  put("compare", form.elements.compare.value);
  put("panel", state.full === null ? "" : String(state.full));
}

function read(parameters) {
  for (const select of selects()) {
    const value = parameters.get(`var-${select.dataset.variable}`) || "";
    if (value && ![...select.options].some((it) => it.value === value)) select.append(new Option(value, value));
    select.value = value;
  }
  form.elements.compare.value = parameters.get("compare") in DAYS ? parameters.get("compare") : "";
  const panel = Number(parameters.get("panel") ?? NaN);
  showFull(figureOf(panel) ? panel : null);
}

const controls = openControls(form, {
  texts, load, write, read,
  span: () => state.data && [state.data.times[0], state.data.times.at(-1)],
  isBusy: () => [...state.charts.values()].some((it) => it.isBusy()),
});

// Loading.

function query(range, request) {
  const points = Math.max(60, Math.min(600, Math.round(root.clientWidth / 3)));
  const parameters = { name: root.dataset.board, ...range, points, timezone: zone, language, variables: JSON.stringify(variables()) };
  return fetchJson("/api/boards/data", parameters, request.signal);
}

async function load() {
  state.request?.abort();
  const request = state.request = new AbortController();
  const waiting = setTimeout(() => root.querySelectorAll(".panel").forEach((it) => it.classList.add("waiting")), 300);
  const loaded = () => {
    clearTimeout(waiting);
    root.querySelectorAll(".waiting").forEach((it) => it.classList.remove("waiting"));
  };
  try {
    if (!state.board) state.board = (await fetchJson("/api/boards/board", { name: root.dataset.board }, request.signal)).board;
    const data = await query(controls.range(), request);
    const days = DAYS[form.elements.compare.value];
    const before = days ? await query({ from: data.times[0] - days * DAY, to: data.times.at(-1) - days * DAY }, request) : null;
    Object.assign(state, { data, before, fetched: Date.now() });
    note.hidden = true;
    controls.mark(null);
    draw();
    loaded();
    await explainEmpty(request);
  } catch (error) {
    if (error.name === "AbortError") return;
    controls.mark(error);
    const since = state.fetched ? clock(state.fetched, language) : "–";
    note.textContent = fill(texts["not-live"], { since, reason: error.message });
    note.hidden = false;
  } finally {
    clearTimeout(waiting);
    if (state.request === request) {
      loaded();
      state.request = null;
      controls.schedule();
    }
  }
}

// Drawing.

const panels = () => [...state.board.panels, ...state.board.rows.flatMap((row) => row.panels)];

function draw() {
  const focus = document.activeElement, series = focus?.dataset?.series, focused = focus?.closest?.("[data-panel]")?.dataset.panel;
  for (const [name, values] of Object.entries(state.data.variables)) offer(name, values);
  panels().forEach(drawPanel);
  if (series !== undefined && !document.contains(focus)) {
    [...figureOf(focused).querySelectorAll("[data-series]")].find((it) => it.dataset.series === series)?.focus();
  }
}

function drawPanel(panel, place) {
  const figure = figureOf(place), plot = figure.querySelector(".plot"), data = state.data.panels[place];
  state.charts.get(place)?.destroy();
  state.charts.delete(place);
  plot.replaceChildren();
  plot.classList.toggle("chart", panel.type === "timeseries" && data.series.length > 0);
  if (!figure.querySelector(".panel-menu")) addMenu(figure, panel, place);
  if (data.error) plot.append(element("p", { class: "error" }, data.error));
  else if (!data.series.length) plot.append(element("p", { class: "empty" }, texts["nothing-in-range"]));
  else if (panel.type in DRAWN) DRAWN[panel.type](panel, data, plot);
  else { timeSeries(panel, data, plot, place); return; }
  // What scrolls is reached by the keyboard.
  if (plot.scrollHeight > plot.clientHeight) plot.tabIndex = 0; else plot.removeAttribute("tabindex");
}

// Says below "Nothing in this range" which metrics there are none of at all, and what provides them.
async function explainEmpty(request) {
  const empty = state.data.panels.map((data, place) => ({ data, place })).filter(({ data }) => !data.error && !data.series.length);
  const unknown = [...new Set(empty.flatMap(({ data }) => data.expressions))].filter((it) => !state.described.has(it));
  for (let i = 0; i < unknown.length; i += DESCRIBED) {
    const queries = unknown.slice(i, i + DESCRIBED);
    const found = await fetchJson("/api/queries/describe", { queries: JSON.stringify(queries) }, request.signal);
    queries.forEach((it, place) => state.described.set(it, found.queries[place].metrics));
  }
  for (const { data, place } of empty) {
    const metrics = new Map(data.expressions.flatMap((it) => state.described.get(it)).map((it) => [it.name, it]));
    const reasons = missingMetrics([...metrics.values()], texts).slice(0, REASONS);
    figureOf(place).querySelector(".plot > .empty")?.append(...reasons.map((it) => element("small", {}, it)));
  }
}

function offer(name, values) {
  const select = [...selects()].find((it) => it.dataset.variable === name);
  if (!select) return;
  select.closest("label").hidden = false;
  const known = new Set([...select.options].map((it) => it.value));
  for (const value of values) if (!known.has(value)) select.append(new Option(value, value));
}

function timeSeries(panel, data, plot, place) {
  const shift = state.before ? state.data.times[0] - DAYS[form.elements.compare.value] * DAY : 0;
  const at = new Map(state.before?.times.map((it, i) => [it - shift, i]));
  const identity = (it) => `${it.query} ${JSON.stringify(it.labels)}`;
  const past = new Map(state.before?.panels[place].series.map((it) => [identity(it), it.values]));
  const series = data.series.map((it) => {
    const values = past.get(identity(it));
    return { ...it, before: values && state.data.times.map((time) => values[at.get(time - state.data.times[0])] ?? null) };
  });
  const seriesOf = (legend) => {
    const query = panel.queries.findIndex((it) => it.legend === legend);
    return series.findIndex((it) => it.query === query);
  };
  const bands = panel.queries.filter((it) => it.fill_below_to).map((it) => [seriesOf(it.legend), seriesOf(it.fill_below_to)]);
  state.charts.set(place, drawTimeSeries(plot, { ...panel, title: titleOf(panel) }, {
    times: state.data.times, series, hidden: data.hidden, bands: bands.filter((it) => it.every((found) => found >= 0)),
    annotations: state.data.annotations,
  }, {
    language, texts, sync: "board",
    zoom: controls.setRange, zoomOut: () => history.back(),
    chosen: state.chosen.get(place) || null,
    choose: (names) => { if (names) state.chosen.set(place, names); else state.chosen.delete(place); },
    legend: legendForm(place),
  }));
}

const legendForm = (place) => (state.tables.has(place) !== (state.full === place) ? "table" : "list");

function stats(panel, data, plot) {
  const live = data.series.filter(isLive);
  if (!live.length) { plot.append(element("p", { class: "empty" }, texts["nothing-in-range"])); return; }
  const made = live.map((it) => {
    const value = last(it.values);
    const filled = panel.colored_background ? " filled" : "";
    const kind = panel.thresholds.length && value !== null ? `level-${level(panel, value)}${filled}` : "";
    const name = live.length > 1 ? element("span", {}, it.name) : null;
    return element("div", { class: `stat ${kind}` }, element("strong", {}, format(panel, value)), name, sparkline(it.values));
  });
  plot.append(element("div", { class: "stats" }, ...made));
}

function sparkline(values) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const present = values.filter((it) => it !== null);
  if (present.length < 2) return svg;
  const low = Math.min(...present), high = Math.max(...present), size = high - low || 1;
  let path = "", drawing = false;
  values.forEach((value, i) => {
    if (value === null) { drawing = false; return; }
    path += `${drawing ? "L" : "M"}${(i / (values.length - 1)) * 100} ${19 - ((value - low) / size) * 18}`;
    drawing = true;
  });
  svg.setAttribute("viewBox", "0 0 100 20");
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

function bars(panel, data, plot) {
  const rows = data.series.map((it) => ({ name: it.name, value: last(it.values) })).filter((it) => it.value !== null).sort((a, b) => b.value - a.value);
  const most = panel.max ?? Math.max(...rows.map((it) => it.value), 0);
  plot.append(element("div", { class: "bars" }, ...rows.map((it) => element(
    "div", { class: panel.thresholds.length ? `level-${level(panel, it.value)}` : "" },
    element("span", {}, it.name), element("span", {}, format(panel, it.value)),
    element("progress", { max: most || 1, value: Math.max(0, it.value), "aria-label": it.name }),
  ))));
}

function table(panel, data, plot) {
  const rows = data.series.map((it) => element("tr", {}, element("td", {}, it.name), element("td", {}, format(panel, last(it.values)))));
  plot.append(element("table", {}, element("tbody", {}, ...rows)));
}

function canvas(plot, height) {
  const made = element("canvas", { class: "drawn" });
  const width = Math.max(120, plot.clientWidth);
  made.width = width * devicePixelRatio;
  made.height = height * devicePixelRatio;
  made.style.height = `${height}px`;
  const context = made.getContext("2d");
  context.scale(devicePixelRatio, devicePixelRatio);
  context.font = "11px system-ui";
  context.fillStyle = pageColor("faint");
  plot.append(made);
  return { context, width };
}

// A band for each series, coloured by the level of its value at each time.
function stateTimeline(panel, data, plot) {
  const height = 22, labels = Math.min(180, plot.clientWidth * 0.35);
  const { context, width } = canvas(plot, data.series.length * height + 18);
  const count = state.data.times.length, step = (width - labels) / count;
  data.series.forEach((it, row) => {
    context.fillStyle = pageColor("text");
    context.fillText(shorten(context, it.name, labels - 8), 0, row * height + 14);
    it.values.forEach((value, i) => {
      if (value === null) return;
      context.fillStyle = pageColor(level(panel, value));
      const left = Math.floor(labels + i * step), right = Math.floor(labels + (i + 1) * step);
      context.fillRect(left, row * height + 3, right - left, height - 6);
    });
  });
  context.fillStyle = pageColor("faint");
  timeAxis(context, labels, width, data.series.length * height + 14);
}

function heatmap(panel, data, plot) {
  const bounds = data.series.map((it) => ({ upper: it.labels.le === "+Inf" ? Infinity : Number(it.labels.le), values: it.values })).filter((it) => !Number.isNaN(it.upper)).sort((a, b) => a.upper - b.upper);
  const cells = bounds.map((it, row) => it.values.map((value, i) => (value === null ? null : Math.max(0, value - (row ? bounds[row - 1].values[i] ?? 0 : 0)))));
  const most = Math.max(...cells.flat().filter((it) => it !== null), 0) || 1;
  const labels = 64, height = Math.max(8, Math.min(20, (plot.clientHeight - 24) / bounds.length));
  const { context, width } = canvas(plot, bounds.length * height + 18);
  const step = (width - labels) / state.data.times.length;
  const color = pageColor("accent");
  cells.forEach((row, place) => {
    const top = (bounds.length - 1 - place) * height;
    if (height >= 11 || place % 2 === 0) {
      context.globalAlpha = 1;
      context.fillStyle = pageColor("faint");
      context.fillText(formatValue(bounds[place].upper, panel.unit, language), 0, top + height - 2);
    }
    context.fillStyle = color;
    row.forEach((value, i) => {
      if (!value) return;
      context.globalAlpha = 0.12 + 0.88 * Math.sqrt(value / most);
      context.fillRect(labels + i * step, top, Math.ceil(step), Math.max(1, height - 1));
    });
  });
  context.globalAlpha = 1;
  context.fillStyle = pageColor("faint");
  timeAxis(context, labels, width, bounds.length * height + 14);
}

function timeAxis(context, left, right, y) {
  const { times } = state.data;
  const short = (at) => new Date(at).toLocaleString(language, times.at(-1) - times[0] > 86400000 ? { month: "numeric", day: "numeric", hour: "numeric", hourCycle: "h23" } : { hour: "2-digit", minute: "2-digit", hourCycle: "h23" });
  context.fillText(short(times[0]), left, y);
  context.textAlign = "right";
  context.fillText(short(times.at(-1)), right, y);
  context.textAlign = "left";
}

function shorten(context, text, width) {
  let found = text;
  while (found && context.measureText(found).width > width) found = found.slice(0, -1);
  return found === text ? text : `${found.slice(0, -1)}…`;
}

const DRAWN = { stat: stats, gauge: stats, bargauge: bars, table, heatmap, "state-timeline": stateTimeline };

// The menu of a panel.

const fileName = (panel) => `${root.dataset.board}-${panel.title}`.replace(/[^\p{L}\p{N}]+/gu, "-").toLowerCase();

function addMenu(figure, panel, place) {
  const heading = figure.querySelector("h2, h3");
  const entry = (text, run) => element("li", {}, element("button", { type: "button", onclick: () => { menu.open = false; run(); } }, text));
  const isChart = panel.type === "timeseries", isDrawn = isChart || panel.type === "heatmap" || panel.type === "state-timeline";
  const menu = element("details", { class: "panel-menu" },
    element("summary", { "aria-label": fill(texts["panel-menu"], { title: titleOf(panel) }) }, "⋮"),
    element("ul", {},
      entry(texts.explore, () => explore(place)),
      entry(texts["full-screen"], () => toggleFull(place)),
      isChart && entry(texts["legend-table"], () => toggleLegend(place)),
      isDrawn && entry("PNG", () => savePicture(panel, place)),
      entry("CSV", () => download(`${fileName(panel)}.csv`, "text/csv", asCsv(state.data.panels[place]))),
      entry("JSON", () => download(`${fileName(panel)}.json`, "application/json", JSON.stringify({ times: state.data.times, ...state.data.panels[place] }, null, 2)))));
  heading.after(menu);
  menu.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || !menu.open) return;
    menu.open = false;
    menu.firstElementChild.focus();
    event.stopPropagation();
  });
}

document.addEventListener("click", (event) => {
  for (const it of document.querySelectorAll(".panel-menu[open]")) if (!it.contains(event.target)) it.open = false;
});

function explore(place) {
  const parameters = new URLSearchParams(controls.range());
  for (const expression of state.data.panels[place].expressions) parameters.append("expr", expression);
  location.assign(`/explore?${parameters}`);
}

function toggleLegend(place) {
  if (!state.tables.delete(place)) state.tables.add(place);
  state.charts.get(place)?.setLegend(legendForm(place));
}

async function savePicture(panel, place) {
  const chosen = state.chosen.get(place), { series } = state.data.panels[place];
  const names = panel.type === "timeseries" ? series.map((it) => it.name).filter((name) => !chosen || chosen.has(name)) : [];
  const picture = await toImage(figureOf(place).querySelector(".plot"), titleOf(panel), names);
  if (picture) download(`${fileName(panel)}.png`, "image/png", picture);
}

// Times, then a column for each series. A cell that a spreadsheet would take for a formula begins with an apostrophe.
function asCsv(data) {
  const cell = (text) => {
    const safe = /^[=+\-@\t\r]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const isInstant = data.series.every((it) => it.values.length === 1);
  const times = isInstant ? [state.data.times.at(-1)] : state.data.times;
  const rows = times.map((at, i) => [new Date(at).toISOString(), ...data.series.map((it) => it.values[i] ?? "")].join(","));
  return [["time", ...data.series.map((it) => cell(it.name))].join(","), ...rows, ""].join("\r\n");
}

// One panel alone, and the whole board on a wall.

function showFull(place) {
  if (place === state.full) return;
  const before = state.full;
  state.full = place;
  root.classList.toggle("one", place !== null);
  for (const it of root.querySelectorAll("[data-panel]")) it.classList.toggle("full", Number(it.dataset.panel) === place);
  if (state.data) for (const it of [before, place]) if (it !== null) drawPanel(panels()[it], it);
}

function toggleFull(place) {
  showFull(state.full === place ? null : place);
  controls.remember();
}

let pointed = null;
root.addEventListener("pointerover", (event) => { pointed = event.target.closest("[data-panel]"); });
root.addEventListener("pointerleave", () => { pointed = null; });

// The panel that has the focus, or the pointer.
function current(run) {
  const found = state.full ?? (document.activeElement?.closest("[data-panel]") || pointed)?.dataset.panel;
  if (found === undefined || !state.data) return false;
  run(Number(found));
  return true;
}

function toggleKiosk() {
  const address = new URL(location.href);
  if (address.searchParams.has("kiosk")) { address.searchParams.delete("kiosk"); address.searchParams.delete("rotate"); }
  else address.searchParams.set("kiosk", "");
  location.assign(address);
}

function leave() {
  if (document.querySelector(".panel-menu[open]")) return false;
  if (state.full !== null) { toggleFull(state.full); return true; }
  if ("kiosk" in root.dataset) { toggleKiosk(); return true; }
  return false;
}

// On a wall: the time, and the next board after a while; one that can't be reached is tried again later.
function runKiosk() {
  const time = document.getElementById("kiosk-time");
  const tick = () => { time.textContent = clock(Date.now(), language); };
  tick();
  setInterval(tick, 1000);
  const seconds = Number(root.dataset.rotate);
  if (!seconds) return;
  const next = new URL(root.dataset.next, location.href);
  for (const [name, value] of new URL(location.href).searchParams) {
    if (["kiosk", "rotate", "from", "to", "refresh"].includes(name)) next.searchParams.set(name, value);
  }
  setInterval(async () => {
    const response = await fetch(next, { cache: "no-store" }).catch(() => null);
    if (response?.ok) location.replace(next);
  }, seconds * 1000);
}

bindKeys([
  ...controls.keys(),
  { keys: "v", text: texts["full-screen"], run: () => current(toggleFull) },
  { keys: "e", text: texts.explore, run: () => current(explore) },
  { keys: "p l", text: texts["legend-table"], run: () => current(toggleLegend) },
  { keys: "d k", text: texts.kiosk, run: toggleKiosk },
  { keys: "Escape", text: texts.leave, run: leave },
]);

let resizing = 0;
const redraw = () => { if (state.data) panels().forEach((panel, place) => { if (!state.charts.has(place)) drawPanel(panel, place); }); };
addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(redraw, 150); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
if ("kiosk" in root.dataset) runKiosk();

controls.recall();
load();
