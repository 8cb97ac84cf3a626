// Draws the panels of a board. Texts from outside become text nodes, never HTML.

import { formatValue } from "./format.js";

const root = document.getElementById("board");
const controls = document.getElementById("controls");
const note = document.getElementById("note");
const language = root.dataset.language;
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
const COLORS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#8C6BB1", "#7F7F7F"];
const DASHES = [[], [8, 4], [2, 3]];
const RATIO = { s: 1, m: 60, h: 3600 };

const state = { board: null, data: null, charts: [], isolated: new Map(), timer: 0, request: null, fetched: 0 };

function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== null && value !== false) made.setAttribute(key, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

function hash(text) {
  let found = 2166136261;
  for (const letter of text) found = Math.imul(found ^ letter.codePointAt(0), 16777619);
  return found >>> 0;
}

// The colour of a series follows from its name: it is the same on every panel and after each refresh.
function looks(names) {
  const taken = new Set();
  return names.map((name) => {
    let place = hash(name) % COLORS.length, dash = 0;
    while (taken.has(`${place} ${dash}`) && taken.size < COLORS.length * DASHES.length) {
      place = (place + 1) % COLORS.length;
      if (place === hash(name) % COLORS.length) dash = (dash + 1) % DASHES.length;
    }
    taken.add(`${place} ${dash}`);
    return { color: COLORS[place], dash: DASHES[dash] };
  });
}

function level(panel, value) {
  let found = panel.base_level;
  for (const threshold of panel.thresholds) if (value >= threshold.value) found = threshold.level;
  return found;
}

const format = (panel, value) => formatValue(value, panel.unit, language);
// What has no value at the end of the range has ended, and is not shown as if it were now.
const isLive = (series) => series.values.slice(-2).some((it) => it !== null);
const last = (values) => { for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null) return values[i]; return null; };

function clock(milliseconds) {
  return new Date(milliseconds).toLocaleString(language, { dateStyle: "short", timeStyle: "medium", hourCycle: "h23" });
}

// What the address says.

function range() {
  return { from: controls.elements.from.value, to: controls.elements.to.value };
}

function chosen() {
  const found = {};
  for (const select of controls.querySelectorAll("[data-variable]")) if (select.value) found[select.dataset.variable] = [select.value];
  return found;
}

function remember(push) {
  const address = new URL(location.href);
  const { from, to } = range();
  address.searchParams.set("from", from);
  address.searchParams.set("to", to);
  address.searchParams.set("refresh", controls.elements.refresh.value);
  for (const select of controls.querySelectorAll("[data-variable]")) {
    if (select.value) address.searchParams.set(`var-${select.dataset.variable}`, select.value);
    else address.searchParams.delete(`var-${select.dataset.variable}`);
  }
  if (push && address.href !== location.href) history.pushState(null, "", address);
}

function recall() {
  const parameters = new URL(location.href).searchParams;
  controls.elements.from.value = parameters.get("from") || root.dataset.from;
  controls.elements.to.value = parameters.get("to") || root.dataset.to;
  for (const select of controls.querySelectorAll("[data-variable]")) {
    const value = parameters.get(`var-${select.dataset.variable}`) || "";
    if (value && ![...select.options].some((it) => it.value === value)) select.append(new Option(value, value));
    select.value = value;
  }
}

function setRange(from, to) {
  controls.elements.from.value = from;
  controls.elements.to.value = to;
  remember(true);
  load();
}

// Loading.

async function load() {
  if (state.request) state.request.abort();
  const request = state.request = new AbortController();
  const waiting = setTimeout(() => root.querySelectorAll(".panel").forEach((it) => it.classList.add("waiting")), 300);
  try {
    if (!state.board) state.board = (await ask("/api/boards/board", { name: root.dataset.board }, request)).board;
    const points = Math.max(60, Math.min(600, Math.round(root.clientWidth / 3)));
    const variables = JSON.stringify(chosen());
    const parameters = { name: root.dataset.board, ...range(), points, timezone: zone, language, variables };
    state.data = await ask("/api/boards/data", parameters, request);
    state.fetched = Date.now();
    note.hidden = true;
    draw();
  } catch (error) {
    if (error.name === "AbortError") return;
    const since = state.fetched ? clock(state.fetched) : "–";
    note.textContent = root.dataset.stale.replace("{since}", since).replace("{reason}", error.message);
    note.hidden = false;
  } finally {
    clearTimeout(waiting);
    if (state.request === request) {
      root.querySelectorAll(".waiting").forEach((it) => it.classList.remove("waiting"));
      state.request = null;
      schedule();
    }
  }
}

async function ask(path, parameters, request) {
  const response = await fetch(`${path}?${new URLSearchParams(parameters)}`, { signal: request.signal, cache: "no-store" });
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.detail || `HTTP ${response.status}`);
  return body;
}

function schedule() {
  clearTimeout(state.timer);
  const found = /^(\d+)([smh])$/.exec(controls.elements.refresh.value);
  if (!found || !range().to.startsWith("now") || document.hidden) return;
  state.timer = setTimeout(load, found[1] * RATIO[found[2]] * 1000);
}

// Drawing.

function panels() {
  return [...state.board.panels, ...state.board.rows.flatMap((row) => row.panels)];
}

function draw() {
  for (const chart of state.charts) chart.destroy();
  state.charts = [];
  for (const [name, values] of Object.entries(state.data.variables)) offer(name, values);
  panels().forEach((panel, place) => {
    const figure = root.querySelector(`[data-panel="${place}"]`);
    const plot = figure.querySelector(".plot");
    const data = state.data.panels[place];
    plot.replaceChildren();
    plot.classList.toggle("chart", panel.type === "timeseries" && data.series.length > 0);
    figure.querySelector(".legend")?.remove();
    if (data.error) plot.append(element("p", { class: "error" }, data.error));
    else if (!data.series.length) plot.append(element("p", { class: "empty" }, root.dataset.nothing));
    else (DRAWN[panel.type] || timeSeries)(panel, data, plot, figure, place);
    // What scrolls is reached by the keyboard.
    for (const it of [plot, figure.querySelector(".legend")]) if (it) it.tabIndex = it.scrollHeight > it.clientHeight ? 0 : -1;
  });
}

function offer(name, values) {
  const select = controls.querySelector(`[data-variable="${name}"]`);
  if (!select) return;
  select.closest("label").hidden = false;
  const known = new Set([...select.options].map((it) => it.value));
  for (const value of values) if (!known.has(value)) select.append(new Option(value, value));
}

function timeSeries(panel, data, plot, figure, place) {
  const times = state.data.times.map((it) => it / 1000);
  const style = looks(data.series.map((it) => it.name));
  const isolated = state.isolated.get(place);
  const stacked = panel.style === "stacked";
  const shown = data.series.map((it) => !isolated || isolated.has(it.name));
  const columns = stacked ? stack(data.series, shown) : data.series.map((it) => it.values);
  const css = getComputedStyle(document.documentElement);
  const text = css.getPropertyValue("--faint").trim(), line = css.getPropertyValue("--line").trim();
  const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "11px system-ui" };
  const tip = element("div", { class: "tip", hidden: true });
  figure.append(legend(panel, data, style, shown, place));  // first: the chart fills what is left
  const options = {
    width: Math.max(120, plot.clientWidth), height: Math.max(80, plot.clientHeight),
    legend: { show: false },
    padding: [8, 8, 0, 0],
    cursor: { sync: { key: "board", setSeries: false }, drag: { x: true, y: false, dist: 10, setScale: false }, bind: { dblclick: () => null } },
    scales: { x: { time: true, range: () => [times[0], times.at(-1)] }, y: { distr: panel.logarithmic ? 3 : 1, range: (_, low, high) => limits(panel, low, high) } },
    axes: [
      { ...axis, space: 60, values: (_, ticks, __, ___, step) => tickTimes(ticks, step) },
      { ...axis, size: widest, ...(BINARY.has(panel.unit) ? { incrs: BINARY_STEPS } : {}), values: (_, ticks) => ticks.map((it) => (it === null ? "" : format(panel, it))), label: panel.axis_label || null, labelSize: panel.axis_label ? 18 : 0, labelFont: "11px system-ui" },
    ],
    series: [{}, ...data.series.map((it, i) => ({
      label: it.name, show: shown[i], stroke: style[i].color, dash: style[i].dash, width: 1.5,
      fill: stacked ? `${style[i].color}55` : undefined,
      paths: panel.style === "bars" ? uPlot.paths.bars({ size: [0.8, 40] }) : undefined,
      points: { show: (u, s, from, to) => lonely(u.data[s], from, to) },
    }))],
    hooks: {
      draw: [(u) => thresholds(u, panel, css)],
      setSelect: [(u) => {
        if (u.select.width < 10) return;
        const from = u.posToVal(u.select.left, "x"), to = u.posToVal(u.select.left + u.select.width, "x");
        u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
        setRange(String(Math.round(from * 1000)), String(Math.round(to * 1000)));
      }],
      setCursor: [(u) => point(u, panel, data, shown, style, tip)],
    },
  };
  const chart = new uPlot(options, [times, ...columns], plot);
  plot.append(tip);
  chart.over.addEventListener("dblclick", () => history.back());
  chart.over.addEventListener("mouseleave", () => { tip.hidden = true; });
  state.charts.push(chart);
}

// Hours and minutes; the date below where a day begins, or at the first one.
function tickTimes(ticks, step) {
  const shown = { hour: "2-digit", minute: "2-digit", hourCycle: "h23", ...(step < 60 ? { second: "2-digit" } : {}) };
  let day = "";
  return ticks.map((tick) => {
    const at = new Date(tick * 1000), date = at.toLocaleDateString(language, { month: "numeric", day: "numeric" });
    if (step >= 86400) return date;
    const text = at.toLocaleTimeString(language, shown), isNew = date !== day;
    day = date;
    return isNew ? `${text}\n${date}` : text;
  });
}

const BINARY = new Set(["bytes", "binBps"]);
const BINARY_STEPS = Array.from({ length: 56 }, (_, power) => 2 ** power);

function widest(u, labels) {
  const longest = Math.max(0, ...(labels || []).map((it) => it.length));
  return Math.max(40, 16 + longest * 6.5);
}

function lonely(values, from, to) {
  for (let i = from; i <= to; i++) if (values[i] !== null && values[i - 1] == null && values[i + 1] == null) return true;
  return false;
}

function stack(series, shown) {
  const sums = state.data.times.map(() => 0);
  return series.map((it, place) => it.values.map((value, i) => {
    if (!shown[place]) return value;
    sums[i] += value || 0;
    return sums[i];
  }));
}

function limits(panel, low, high) {
  let bottom = panel.min ?? Math.min(low ?? 0, 0), top = panel.max ?? high ?? 1;
  if (panel.logarithmic) return [Math.max(low ?? 0.1, 1e-9), Math.max(high ?? 1, 1e-8)];
  if (panel.min === null && low !== null && low > 0 && low > 0.75 * high) bottom = low - (high - low || high * 0.1);
  if (top <= bottom) top = bottom + 1;
  return [bottom, panel.max ?? top + (top - bottom) * 0.08];
}

function thresholds(u, panel, css) {
  const { ctx } = u;
  ctx.save();
  ctx.lineWidth = devicePixelRatio;
  ctx.setLineDash([6, 4]);
  for (const threshold of panel.thresholds) {
    const y = u.valToPos(threshold.value, "y", true);
    if (y < u.bbox.top || y > u.bbox.top + u.bbox.height) continue;
    ctx.strokeStyle = css.getPropertyValue(`--${threshold.level}`).trim();
    ctx.beginPath();
    ctx.moveTo(u.bbox.left, y);
    ctx.lineTo(u.bbox.left + u.bbox.width, y);
    ctx.stroke();
  }
  ctx.restore();
}

function point(u, panel, data, shown, style, tip) {
  const { idx, left, top } = u.cursor;
  if (idx === null || idx === undefined || left < 0 || !u.over.matches(":hover")) { tip.hidden = true; return; }
  const rows = data.series
    .map((it, i) => ({ name: it.name, value: it.values[idx], color: style[i].color, shown: shown[i] }))
    .filter((it) => it.shown && it.value !== null)
    .sort((a, b) => b.value - a.value)
    .slice(0, 12);
  const value = u.posToVal(top, "y");
  const near = rows.reduce((best, it) => (best && Math.abs(best.value - value) <= Math.abs(it.value - value) ? best : it), null);
  const body = element("tbody", {}, ...rows.map((it) => {
    const swatch = element("span", { class: "swatch" });
    swatch.style.setProperty("--swatch", it.color);
    return element("tr", { class: it === near ? "near" : "" }, element("td", {}, swatch), element("td", {}, it.name), element("td", {}, format(panel, it.value)));
  }));
  tip.replaceChildren(element("div", {}, clock(state.data.times[idx])), element("table", {}, body));
  tip.hidden = false;
  const x = left + u.over.offsetLeft, isRight = x > u.width / 2;
  tip.style.transform = `translate(${isRight ? x - tip.offsetWidth - 12 : x + 12}px, ${Math.max(0, Math.min(top, u.height - tip.offsetHeight))}px)`;
}

// A click shows one series alone, a second one all again; with Ctrl it adds or takes away one.
function legend(panel, data, style, shown, place) {
  const isolate = (name, adds) => {
    let now = state.isolated.get(place);
    if (adds) {
      now = new Set(now || data.series.map((it) => it.name));
      if (now.has(name)) now.delete(name); else now.add(name);
    } else {
      now = now && now.size === 1 && now.has(name) ? null : new Set([name]);
    }
    if (now && now.size && now.size < data.series.length) state.isolated.set(place, now); else state.isolated.delete(place);
    draw();
  };
  const entries = data.series.map((it, i) => {
    const swatch = element("span", { class: "swatch" });
    swatch.style.setProperty("--swatch", style[i].color);
    const value = element("span", { class: "value" }, format(panel, last(it.values)));
    const button = element("button", { type: "button", "aria-pressed": String(shown[i]), onclick: (event) => isolate(it.name, event.ctrlKey || event.metaKey) }, swatch, it.name, value);
    return element("li", {}, button);
  });
  if (data.hidden) entries.push(element("li", { class: "value" }, root.dataset.hidden.replace("{count}", data.hidden)));
  return element("ul", { class: "legend" }, ...entries);
}

function stats(panel, data, plot) {
  const live = data.series.filter(isLive);
  if (!live.length) { plot.append(element("p", { class: "empty" }, root.dataset.nothing)); return; }
  const made = live.map((it) => {
    const value = last(it.values);
    const filled = panel.colored_background ? " filled" : "";
    const kind = panel.thresholds.length && value !== null ? `level-${level(panel, value)}${filled}` : "";
    const name = live.length > 1 ? [element("span", {}, it.name)] : [];
    return element("div", { class: `stat ${kind}` }, element("strong", {}, format(panel, value)), ...name, sparkline(it.values));
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
  context.fillStyle = getComputedStyle(document.documentElement).getPropertyValue("--faint").trim();
  plot.append(made);
  return { context, width };
}

// A band for each series, coloured by the level of its value at each time.
function stateTimeline(panel, data, plot) {
  const css = getComputedStyle(document.documentElement);
  const height = 22, labels = Math.min(180, plot.clientWidth * 0.35);
  const { context, width } = canvas(plot, data.series.length * height + 18);
  const count = state.data.times.length, step = (width - labels) / count;
  data.series.forEach((it, row) => {
    context.fillStyle = css.getPropertyValue("--text").trim();
    context.fillText(shorten(context, it.name, labels - 8), 0, row * height + 14);
    it.values.forEach((value, i) => {
      if (value === null) return;
      context.fillStyle = css.getPropertyValue(`--${level(panel, value)}`).trim();
      const left = Math.floor(labels + i * step), right = Math.floor(labels + (i + 1) * step);
      context.fillRect(left, row * height + 3, right - left, height - 6);
    });
  });
  context.fillStyle = css.getPropertyValue("--faint").trim();
  timeAxis(context, labels, width, data.series.length * height + 14);
}

function heatmap(panel, data, plot) {
  const bounds = data.series.map((it) => ({ upper: it.labels.le === "+Inf" ? Infinity : Number(it.labels.le), values: it.values })).filter((it) => !Number.isNaN(it.upper)).sort((a, b) => a.upper - b.upper);
  const css = getComputedStyle(document.documentElement);
  const cells = bounds.map((it, row) => it.values.map((value, i) => (value === null ? null : Math.max(0, value - (row ? bounds[row - 1].values[i] ?? 0 : 0)))));
  const most = Math.max(...cells.flat().filter((it) => it !== null), 0) || 1;
  const labels = 64, height = Math.max(8, Math.min(20, (plot.clientHeight - 24) / bounds.length));
  const { context, width } = canvas(plot, bounds.length * height + 18);
  const step = (width - labels) / state.data.times.length;
  const color = css.getPropertyValue("--accent").trim();
  cells.forEach((row, place) => {
    const top = (bounds.length - 1 - place) * height;
    if (height >= 11 || place % 2 === 0) {
      context.globalAlpha = 1;
      context.fillStyle = css.getPropertyValue("--faint").trim();
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
  context.fillStyle = css.getPropertyValue("--faint").trim();
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

const DRAWN = { timeseries: timeSeries, stat: stats, gauge: stats, bargauge: bars, table, heatmap, "state-timeline": stateTimeline };

// Controls.

function span() {
  const { times } = state.data;
  return [times[0], times.at(-1)];
}

const ACTS = {
  back: () => { const [from, to] = span(); const half = (to - from) / 2; setRange(String(from - half), String(to - half)); },
  forward: () => { const [from, to] = span(); const half = (to - from) / 2; setRange(String(from + half), String(to + half)); },
  out: () => { const [from, to] = span(); const half = (to - from) / 2; setRange(String(Math.round(from - half)), String(Math.round(to + half))); },
};

controls.querySelector(".group").hidden = false;
controls.addEventListener("click", (event) => {
  const act = event.target.closest("[data-act]")?.dataset.act;
  if (act && state.data) ACTS[act]();
});
controls.addEventListener("submit", (event) => { event.preventDefault(); remember(true); load(); });
controls.addEventListener("change", (event) => {
  if (event.target.matches("select")) { remember(true); load(); }
});
addEventListener("popstate", () => { recall(); load(); });
document.addEventListener("visibilitychange", () => { if (document.hidden) clearTimeout(state.timer); else load(); });
let resizing = 0;
addEventListener("resize", () => { clearTimeout(resizing); resizing = setTimeout(() => { if (state.data) draw(); }, 150); });
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { if (state.data) draw(); });

recall();
load();
