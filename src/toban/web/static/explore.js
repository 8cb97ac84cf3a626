// Runs queries that somebody writes, and shows their results as a chart or a table.

import { clock, drawTimeSeries, last, missingMetrics } from "./chart.js";
import { attachCompletion } from "./completion.js";
import { openControls } from "./controls.js";
import { announce, bindKeys, element, fetchJson, fill } from "./dom.js";
import { formatValue } from "./format.js";

const root = document.getElementById("explore");
const form = document.getElementById("controls");
const rows = document.getElementById("queries");
const note = document.getElementById("note");
const pane = document.getElementById("pane");
const facts = root.querySelector(".result-facts");
const language = root.dataset.language;
const texts = JSON.parse(root.dataset.texts);
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";

const TOP = 20;  // series of a chart
const SERIES = 500;  // series of a query that are fetched
const TABLE_ROWS = 200;
const METRICS = 200;  // rows of the list of metrics
const REMEMBERED = 50;
const WRITING = 10_000;  // milliseconds after which somebody counts as not writing any more
const HISTORY = "toban-queries";

const state = { tab: "graph", chart: null, chosen: null, results: [], described: null, request: null, shown: null, fetched: 0, typed: 0, active: null, made: 0 };

// Metrics, labels and values, each fetched once.

const cache = new Map();
function once(key, make) {
  if (!cache.has(key)) cache.set(key, make().catch((error) => { cache.delete(key); throw error; }));
  return cache.get(key);
}
const selecting = (metric) => (metric ? { "match[]": metric } : {});

function metricList() {
  return once("metrics", async () => {
    const [statistics, metadata] = await Promise.all([fetchJson("/api/v1/status/tsdb", { limit: 100_000 }), fetchJson("/api/v1/metadata", {})]);
    return statistics.data.seriesCountByMetricName.map(({ name, value }) => {
      const family = metadata.data[name] || metadata.data[name.replace(/_(bucket|sum|count)$/, "")];
      return { name, series: value, type: family?.[0].type || "", help: family?.[0].help || "" };
    }).sort((a, b) => (a.name < b.name ? -1 : 1));
  });
}

const source = {
  words: JSON.parse(root.dataset.words),
  metrics: async () => (await metricList()).map((it) => ({ text: it.name, detail: it.type, help: it.help })),
  labels: (metric) => once(`labels ${metric}`, async () => (await fetchJson("/api/v1/labels", selecting(metric))).data),
  values: (label, metric) => once(`values ${label} ${metric}`, async () => (await fetchJson(`/api/v1/label/${encodeURIComponent(label)}/values`, { limit: 1000, ...selecting(metric) })).data),
};

// The queries.

const areas = () => [...rows.querySelectorAll("textarea")];
const letter = (place) => String.fromCharCode(65 + place);
const written = () => areas().map((it) => it.value.trim()).filter(Boolean);

function addRow(expression = "", before = null) {
  const row = before || element("div", { class: "query" }, element("textarea", { name: "expr", rows: 1, maxlength: areas()[0]?.maxLength, "aria-label": texts.expression, spellcheck: "false", autocomplete: "off", autocapitalize: "off" }));
  const area = row.querySelector("textarea");
  if (!before) { area.value = expression; rows.append(row); }
  area.id = `query-${state.made += 1}`;
  row.prepend(element("span", { class: "letter", "aria-hidden": "true" }));
  row.append(
    element("button", { type: "button", class: "shown", "aria-pressed": "true", title: texts["hide-query"], "aria-label": texts["hide-query"], onclick: (event) => {
      const isShown = event.currentTarget.getAttribute("aria-pressed") !== "true";
      event.currentTarget.setAttribute("aria-pressed", String(isShown));
      row.classList.toggle("off", !isShown);
      show();
    } }, "◉"),
    element("button", { type: "button", class: "remove", title: texts["remove-query"], "aria-label": texts["remove-query"], onclick: () => {
      if (areas().length === 1) { area.value = ""; fit(area); } else row.remove();
      number();
      changed();
    } }, "✕"),
    element("div", { class: "about" }),
  );
  attachCompletion(area, source, texts, changed);
  area.addEventListener("focus", () => { state.active = area; });
  area.addEventListener("input", () => { state.typed = Date.now(); fit(area); });
  fit(area);
  return area;
}

// As high as its text.
function fit(area) {
  area.rows = Math.min(8, area.value.split("\n").length);
  if (area.scrollHeight > area.clientHeight + 2) area.rows = Math.min(8, area.rows + Math.ceil((area.scrollHeight - area.clientHeight) / 22));
}

function number() {
  const all = areas();
  all.forEach((area, place) => {
    area.setAttribute("aria-label", `${texts.expression} ${letter(place)}`);
    area.closest(".query").querySelector(".letter").textContent = letter(place);
  });
  form.querySelector("[data-add]").disabled = all.length >= Number(root.dataset.max);
}

// What the address says.

function write(parameters) {
  parameters.delete("expr");
  parameters.delete("view");
  for (const query of written()) parameters.append("expr", query);
  parameters.set("tab", state.tab);
}

function read(parameters) {
  const queries = parameters.getAll("expr").filter((it) => it.trim()), all = areas();
  const wanted = queries.length ? queries : [""];
  wanted.forEach((query, place) => {
    if (!all[place]) addRow(query);
    else if (all[place].value !== query) { all[place].value = query; fit(all[place]); }
  });
  for (const area of all.slice(wanted.length)) area.closest(".query").remove();
  number();
  choose(parameters.get("tab") === "table" ? "table" : "graph");
}

const controls = openControls(form, {
  texts, load, write, read,
  span: () => state.shown,
  isBusy: () => state.chart?.isBusy() || Date.now() - state.typed < WRITING,
});

function changed() {
  controls.remember();
  load();
}

// Loading.

async function load() {
  state.request?.abort();
  const { signal } = state.request = new AbortController(), request = state.request;
  const all = areas(), queries = all.map((it) => it.value.trim());
  if (!queries.some(Boolean)) { state.results = []; state.request = null; show(); return; }
  const waiting = setTimeout(() => pane.classList.add("waiting"), 300);
  try {
    const points = Math.max(60, Math.min(600, Math.round(rows.clientWidth / 3)));
    const described = await fetchJson("/api/queries/describe", { queries: JSON.stringify(queries), ...controls.range(), points, timezone: zone }, signal);
    const results = await Promise.all(queries.map((query, place) => run(query, described, described.queries[place], signal)));
    Object.assign(state, { described, results, shown: [described.start, described.end], fetched: Date.now(), chosen: null });
    note.hidden = true;
    controls.mark(null);
    remember(results.filter((it) => it.query && !it.error).map((it) => it.query));
    show();
  } catch (error) {
    if (error.name === "AbortError") return;
    controls.mark(error);
    note.textContent = state.fetched ? fill(texts["not-live"], { since: clock(state.fetched, language), reason: error.message }) : error.message;
    note.hidden = false;
  } finally {
    clearTimeout(waiting);
    if (state.request === request) {
      pane.classList.remove("waiting");
      state.request = null;
      controls.schedule();
    }
  }
}

// One query that fails leaves the others.
async function run(query, described, { error, line, column, metrics, unit }, signal) {
  const result = { query, metrics, unit, error, line, column, series: [], notes: [], cut: false };
  if (!query || error) return result;
  const { start, end, step } = described;
  const parameters = state.tab === "graph" ? { start: start / 1000, end: end / 1000, step: step / 1000 } : { time: end / 1000 };
  try {
    const body = await fetchJson(state.tab === "graph" ? "/api/v1/query_range" : "/api/v1/query", { query, limit: SERIES, ...parameters }, signal);
    const { resultType, result: found } = body.data;
    result.notes = [...(body.warnings || []), ...(body.infos || [])];
    result.series = resultType === "scalar" || resultType === "string" ? [{ metric: {}, value: found }] : found;
  } catch (failure) {
    if (failure.name === "AbortError") throw failure;
    result.error = failure.message.replace(/^invalid parameter "query": /, "");
  }
  return result;
}

// Showing.

// Labels as in a query: name{label="value"}.
function nameOf(metric) {
  const { __name__: name = "", ...labels } = metric;
  const pairs = Object.entries(labels).map(([label, value]) => `${label}=${JSON.stringify(value)}`);
  return pairs.length ? `${name}{${pairs.join(", ")}}` : name;
}

const isShown = (place) => areas()[place] && !areas()[place].closest(".query").classList.contains("off");

function show() {
  const plot = pane.querySelector(".plot");
  state.chart?.destroy();
  state.chart = null;
  plot.replaceChildren();
  plot.classList.remove("chart");
  pane.classList.toggle("tall", state.tab === "graph");
  facts.textContent = "";
  areas().forEach((area, place) => about(area, state.results[place]));
  const shown = state.results.map((it, place) => ({ ...it, place })).filter((it) => it.query && isShown(it.place));
  root.hidden = false;
  if (!shown.length) { plot.append(element("p", { class: "empty" }, texts["no-queries"])); return; }
  const filled = shown.filter((it) => it.series.length);
  if (!filled.length) {
    plot.append(element("p", { class: "empty" }, shown.every((it) => it.error) ? "–" : texts[state.tab === "graph" ? "nothing-in-range" : "nothing-at-time"]));
    return;
  }
  if (state.tab === "graph") graph(plot, filled, shown.length > 1); else table(plot, filled, shown.length > 1);
}

function graph(plot, results, isNamed) {
  const { start, end, step } = state.described, times = [];
  for (let at = start; at <= end; at += step) times.push(at);
  const place = new Map(times.map((at, i) => [at, i]));
  const all = results.flatMap((result) => result.series.map((it) => {
    const values = new Array(times.length).fill(null);
    for (const [at, text] of it.values || []) {
      const value = Number(text.replace("Inf", "Infinity")), index = place.get(Math.round(at * 1000));
      if (index !== undefined && Number.isFinite(value)) values[index] = value;
    }
    const name = nameOf(it.metric) || result.query;
    return { name: isNamed ? `${letter(result.place)}: ${name}` : name, values };
  }));
  const rank = (it) => last(it.values) ?? -Infinity;
  const series = all.length > TOP ? [...all].sort((a, b) => rank(b) - rank(a)).slice(0, TOP) : all;
  const units = new Set(results.map((it) => it.unit));
  const counts = { count: series.length, all: all.length };
  facts.textContent = [
    all.length > TOP ? fill(texts["top-series"], counts) : fill(texts["series-count"], { count: all.length }),
    fill(texts.step, { step: formatValue(step / 1000, "s", language) }),
  ].join(" · ");
  plot.classList.add("chart");
  state.chart = drawTimeSeries(plot, { unit: units.size === 1 ? [...units][0] : "short", title: results.map((it) => it.query).join(", ") }, { times, series }, {
    language, texts, legend: "table", chosen: state.chosen,
    zoom: controls.setRange, zoomOut: () => history.back(),
    choose: (names) => { state.chosen = names; },
  });
}

function table(plot, results, isNamed) {
  let count = 0;
  const body = results.flatMap((result) => result.series.map((it) => {
    count += 1;
    const [, text] = it.value, value = Number(text.replace("Inf", "Infinity"));
    return element("tr", {}, isNamed && element("td", {}, letter(result.place)), element("td", {}, nameOf(it.metric) || "–"),
      element("td", { title: text }, Number.isNaN(value) && text !== "NaN" ? text : formatValue(value, result.unit, language)));
  }));
  const heads = [isNamed && element("th", { scope: "col" }, "#"), element("th", { scope: "col" }, texts.series), element("th", { scope: "col" }, texts.value)];
  plot.append(element("table", { class: isNamed ? "named" : "" }, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...body.slice(0, TABLE_ROWS))));
  if (count > TABLE_ROWS) plot.append(element("p", { class: "faint" }, fill(texts["more-series"], { count: count - TABLE_ROWS })));
  facts.textContent = [fill(texts["series-count"], { count }), clock(state.described.end, language)].join(" · ");
}

// What a query reads; where it is wrong; why it has no series.
function about(area, result) {
  const place = area.closest(".query").querySelector(".about");
  place.replaceChildren();
  area.removeAttribute("aria-invalid");
  if (!result?.query || result.query !== area.value.trim()) return;
  if (result.error) {
    area.setAttribute("aria-invalid", "true");
    const line = result.line ? result.query.split("\n")[result.line - 1] ?? "" : null;
    if (line !== null) {
      const marked = element("pre", { class: "marked" }, `${line}\n${" ".repeat(result.column - 1)}^`);
      place.append(marked);
      if (marked.scrollWidth > marked.clientWidth) {
        marked.tabIndex = 0;  // what scrolls is reached by the keyboard
        marked.scrollLeft = (marked.scrollWidth * result.column) / (line.length + 1) - marked.clientWidth / 2;
      }
    }
    place.append(element("p", { class: "fault" }, result.error));
    announce(result.error);
    return;
  }
  for (const note_ of result.notes) place.append(element("p", { class: "note" }, note_));
  if (result.series.length >= SERIES) place.append(element("p", { class: "note" }, fill(texts["rows-cut"], { count: SERIES })));
  for (const text of missingMetrics(result.metrics, texts)) place.append(element("p", { class: "fault" }, text));
  for (const metric of result.metrics.filter((it) => it.oldest !== null).slice(0, 3)) {
    if (!result.series.length) {
      place.append(element("p", { class: "note" }, fill(texts["metric-since"], { metric: metric.name, since: clock(metric.oldest, language) })));
    } else if (metric.help) {
      place.append(element("p", { class: "help" }, element("code", {}, metric.name), ` ${metric.type} · ${metric.help}`));
    }
  }
}

// Tabs.

function choose(tab) {
  state.tab = tab;
  for (const it of root.querySelectorAll("[data-tab]")) {
    it.setAttribute("aria-selected", String(it.dataset.tab === tab));
    it.tabIndex = it.dataset.tab === tab ? 0 : -1;
  }
  pane.setAttribute("aria-labelledby", `tab-${tab}`);
}

for (const it of root.querySelectorAll("[data-tab]")) {
  it.addEventListener("click", () => { choose(it.dataset.tab); controls.remember(); load(); });
  it.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    const other = root.querySelector('[data-tab][aria-selected="false"]');
    other.focus();
    other.click();
  });
}

// Queries of before, in this browser.

function remembered() {
  try {
    const found = JSON.parse(localStorage.getItem(HISTORY) || "[]");
    return Array.isArray(found) ? found.filter((it) => typeof it === "string") : [];
  } catch {
    return [];  // not allowed, or written by somebody else
  }
}

function store(queries) {
  try { localStorage.setItem(HISTORY, JSON.stringify(queries.slice(0, REMEMBERED))); } catch { /* not allowed: the page works without */ }
}

function remember(queries) {
  if (queries.length) store([...new Set([...queries, ...remembered()])]);
}

function put(text, isInserted) {
  const area = (document.contains(state.active) && state.active) || areas()[0];
  if (isInserted && area.value.trim()) area.setRangeText(text, area.selectionStart, area.selectionEnd, "end");
  else area.value = text;
  fit(area);
  area.focus();
  for (const it of form.querySelectorAll(".drop[open]")) it.open = false;
}

const history_ = document.getElementById("history");
history_.addEventListener("toggle", () => {
  if (!history_.open) return;
  const queries = remembered(), place = history_.querySelector("div");
  place.replaceChildren(queries.length
    ? element("ul", {}, ...queries.map((it) => element("li", {}, element("button", { type: "button", onclick: () => { put(it, false); changed(); } }, element("code", {}, it)))))
    : element("p", { class: "faint" }, texts["no-history"]));
  if (queries.length) place.append(element("button", { type: "button", onclick: () => { store([]); history_.open = false; } }, texts.clear));
});

// The list of metrics.

const metrics = document.getElementById("metrics"), search = metrics.querySelector("input");

async function listMetrics() {
  const place = metrics.querySelector(".found");
  try {
    const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
    const found = (await metricList()).filter((it) => words.every((word) => it.name.toLowerCase().includes(word) || it.help.toLowerCase().includes(word)));
    place.replaceChildren(element("ul", {}, ...found.slice(0, METRICS).map((it) => element("li", {}, element("button", { type: "button", onclick: () => { put(it.name, true); changed(); } },
      element("code", {}, it.name), element("span", { class: "detail" }, [it.type, fill(texts["series-count"], { count: it.series })].filter(Boolean).join(" · ")), element("span", { class: "help" }, it.help))))));
    if (!found.length) place.append(element("p", { class: "faint" }, texts["no-metrics"]));
    if (found.length > METRICS) place.append(element("p", { class: "faint" }, fill(texts["more-metrics"], { count: found.length - METRICS })));
  } catch (error) {
    place.replaceChildren(element("p", { class: "fault" }, error.message));
  }
}

metrics.addEventListener("toggle", () => {
  if (!metrics.open) return;
  cache.delete("metrics");  // there may be new ones
  listMetrics();
  search.focus();
});
search.addEventListener("input", listMetrics);
search.addEventListener("keydown", (event) => { if (event.key === "Enter") { event.preventDefault(); metrics.querySelector(".found button")?.click(); } });
for (const it of form.querySelectorAll(".drop")) {
  it.addEventListener("keydown", (event) => { if (event.key === "Escape") { it.open = false; it.firstElementChild.focus(); } });
}
document.addEventListener("click", (event) => {
  for (const it of form.querySelectorAll(".drop[open]")) if (!it.contains(event.target)) it.open = false;
});

form.querySelector("[data-add]").addEventListener("click", () => { const area = addRow(); number(); area.focus(); });
form.querySelector("[data-link]").addEventListener("click", async () => {
  controls.remember();
  try {
    await navigator.clipboard.writeText(location.href);
    facts.textContent = texts["link-copied"];
  } catch {
    facts.textContent = location.href;  // the clipboard is not there without HTTPS
  }
});

form.querySelector('[name="view"]').remove();
form.querySelector(".explore-buttons").hidden = false;
for (const row of rows.querySelectorAll(".query")) addRow("", row);
bindKeys(controls.keys());
// The fields are as the address says already, or as somebody has begun to write.
number();
choose(new URL(location.href).searchParams.get("tab") === "table" ? "table" : "graph");
load();
