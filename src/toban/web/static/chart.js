// Draws time series with uPlot: legend, tooltip, crosshair, zoom, thresholds, bands, stacks, the time before.

import { announce, element, fill } from "./dom.js";
import { formatValue } from "./format.js";
import { bindTouch } from "./touch.js";

const DARK = matchMedia("(prefers-color-scheme: dark)");
const isDark = () => (document.documentElement.dataset.theme || (DARK.matches ? "dark" : "light")) === "dark";
// Okabe and Ito's colours; two of them are darker on a light ground, where they would be hard to see.
const COLORS = ["#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#CC79A7", "#8C6BB1", "#7F7F7F"];
const ON_LIGHT = { "#E69F00": "#C98500", "#56B4E9": "#3F97D1" };
const DASHES = [[], [8, 4], [2, 3]];
const BINARY = new Set(["bytes", "binBps"]);
const BINARY_STEPS = Array.from({ length: 56 }, (_, power) => 2 ** power);
const TOOLTIP_ROWS = 12;
const READING = 10_000;  // milliseconds after which a tooltip counts as read

function hash(text) {
  let found = 2166136261;
  for (const letter of text) found = Math.imul(found ^ letter.codePointAt(0), 16777619);
  return found >>> 0;
}

// The colour of a series follows from its name: it is the same on every panel and after each refresh.
export function seriesStyles(names) {
  const taken = new Set();
  return names.map((name) => {
    const first = hash(name) % COLORS.length;
    let place = first, dash = 0;
    while (taken.has(`${place} ${dash}`) && taken.size < COLORS.length * DASHES.length) {
      place = (place + 1) % COLORS.length;
      if (place === first) dash = (dash + 1) % DASHES.length;
    }
    taken.add(`${place} ${dash}`);
    return { color: (!isDark() && ON_LIGHT[COLORS[place]]) || COLORS[place], dash: DASHES[dash] };
  });
}

export const last = (values) => { for (let i = values.length - 1; i >= 0; i--) if (values[i] !== null) return values[i]; return null; };

// The lowest, mean, highest and last value.
export function summary(values) {
  let lowest = null, highest = null, sum = 0, count = 0;
  for (const value of values) {
    if (value === null) continue;
    lowest = lowest === null || value < lowest ? value : lowest;
    highest = highest === null || value > highest ? value : highest;
    sum += value;
    count += 1;
  }
  return { lowest, mean: count ? sum / count : null, highest, last: last(values) };
}

// Sums up the shown series; where none has a value there is a gap.
export function stacked(series, shown) {
  const count = series[0]?.values.length ?? 0;
  const sums = new Array(count).fill(0);
  const isGap = sums.map((_, i) => series.every((it, place) => !shown[place] || it.values[i] === null));
  return series.map((it, place) => it.values.map((value, i) => {
    if (isGap[i]) return null;
    if (!shown[place]) return value;
    return sums[i] += value ?? 0;
  }));
}

// Which metrics of a description there are none of, and what provides them.
export function missingMetrics(metrics, texts) {
  return metrics.filter((it) => it.oldest === null).map((it) => {
    const sources = it.sources.map((source) => texts[`source-${source}`]).join(texts.or);
    const text = fill(texts["no-metric"], { metric: it.name });
    return sources ? `${text} ${fill(texts["metric-with"], { sources })}` : text;
  });
}

export function clock(milliseconds, language) {
  return new Date(milliseconds).toLocaleString(language, { dateStyle: "short", timeStyle: "medium", hourCycle: "h23" });
}

// Hours and minutes; the date below where a day begins, or at the first one.
export function tickTimes(ticks, step, language) {
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

export function limits(panel, low, high) {
  if (panel.logarithmic) {
    const bottom = 10 ** Math.floor(Math.log10(Math.max(low ?? 0.1, 1e-9)));
    return [bottom, Math.max(10 ** Math.ceil(Math.log10(Math.max(high ?? 1, 1e-9))), bottom * 10)];
  }
  let bottom = panel.min ?? Math.min(low ?? 0, 0);
  const isNarrow = (panel.min ?? null) === null && low !== null && low > 0 && high > low && low > 0.75 * high && panel.style !== "stacked";
  if (isNarrow) bottom = low - (high - low || high * 0.1);
  let top = panel.max ?? high ?? 1;
  if (top <= bottom) top = bottom + 1;
  return [bottom, panel.max ?? top + (top - bottom) * 0.08];
}

function lonely(values, from, to) {
  for (let i = from; i <= to; i++) if (values[i] !== null && values[i - 1] == null && values[i + 1] == null) return true;
  return false;
}

function widest(u, labels) {
  const longest = Math.max(0, ...(labels || []).map((it) => it.length));
  return Math.max(40, 16 + longest * 6.5);
}

// A colour of the page, as a canvas takes it: the variables hold a pair for light and dark.
const probe = globalThis.document?.createElement?.("span");
export function pageColor(name) {
  if (!probe.isConnected) { probe.hidden = true; document.body.append(probe); }
  probe.style.color = `var(--${name})`;
  return getComputedStyle(probe).color;
}

function swatch(color, dash = []) {
  const made = element("span", { class: dash.length ? "swatch dashed" : "swatch" });
  made.style.setProperty("--swatch", color);
  return made;
}

/*
Draws time series into `plot`, and their legend after it. Returns `destroy()`, `isBusy()` and `setLegend(form)`.

`panel`   unit, min, max, thresholds, style ("line", "bars", "stacked"), logarithmic, axis_label, title
`data`    times (milliseconds, ascending), series (name, values with null for gaps, perhaps `before`: the values of the
          time before), bands (pairs of places, the upper series first), hidden (how many series are left out),
          annotations (begin, end, title, severity: when alerts fired), marks (time, level: a colour of the page,
          isTall)
`options` language, texts, sync (charts with the same key share the crosshair), zoom(from, to), zoomOut(),
          chosen (a Set of the names that are shown, null for all), choose(set or null), legend ("list" or "table")
*/
export function drawTimeSeries(plot, panel, data, options) {
  const { language, texts } = options;
  const format = (value) => formatValue(value, panel.unit, language);
  const times = data.times.map((it) => it / 1000);
  const isStacked = panel.style === "stacked";
  let moved = 0, chosen = options.chosen ?? null, form = options.legend, chart = null, styles = [], legend = null, at = -1;
  const tip = element("div", { class: "tip", hidden: true });
  const isShown = (it) => !chosen || chosen.has(it.name);

  // Columns: the series, then the time before of each, or of the sum of a stack.
  function columns() {
    const shown = data.series.map(isShown);
    const own = isStacked ? stacked(data.series, shown) : data.series.map((it) => it.values);
    const before = data.series.map((it) => ({ values: it.before ?? null }));
    const has = before.map((it) => it.values !== null);
    const past = !isStacked ? before.filter((_, i) => has[i]).map((it) => it.values)
      : has.some(Boolean) ? [stacked(before.filter((_, i) => has[i]), shown.filter((_, i) => has[i])).at(-1)] : [];
    const all = [...own, ...past];
    return panel.logarithmic ? all.map((it) => it.map((value) => (value > 0 ? value : null))) : all;
  }

  const withPast = isStacked ? [] : data.series.filter((it) => it.before);
  const pastOf = (i) => data.series.length + 1 + withPast.indexOf(data.series[i]);

  function bands() {
    if (!isStacked) return (data.bands || []).map(([upper, lower]) => ({ series: [upper + 1, lower + 1], fill: `${styles[upper].color}26` }));
    const places = data.series.map((_, i) => i).filter((i) => isShown(data.series[i]));
    return places.slice(1).map((place, i) => ({ series: [place + 1, places[i] + 1], fill: `${styles[place].color}66` }));
  }

  function build() {
    chart?.destroy();
    styles = seriesStyles(data.series.map((it) => it.name));
    const text = pageColor("faint"), line = pageColor("line");
    const axis = { stroke: text, grid: { stroke: line, width: 1 }, ticks: { stroke: line, width: 1 }, font: "11px system-ui" };
    const points = { show: (u, s, from, to) => lonely(u.data[s], from, to) };
    const past = { label: "", width: 1, dash: [4, 4], points: { show: false } };
    const all = columns();
    const settings = {
      width: Math.max(120, plot.clientWidth), height: Math.max(80, plot.clientHeight),
      legend: { show: false },
      padding: [8, 18, 0, 0],
      cursor: {
        ...(options.sync ? { sync: { key: options.sync, setSeries: false } } : {}),
        drag: { x: true, y: false, dist: 10, setScale: false }, bind: { dblclick: () => null },
      },
      scales: {
        x: { time: true, range: () => (times.length > 1 ? [times[0], times.at(-1)] : [times[0] - 60, times[0] + 60]) },
        y: { distr: panel.logarithmic ? 3 : 1, range: (_, low, high) => limits(panel, low, high) },
      },
      axes: [
        { ...axis, space: 60, values: (_, ticks, __, ___, step) => tickTimes(ticks, step, language) },
        {
          ...axis, size: widest, ...(BINARY.has(panel.unit) && !panel.logarithmic ? { incrs: BINARY_STEPS } : {}),
          values: (_, ticks) => ticks.map((it) => (it === null ? "" : format(it))),
          label: panel.axis_label || null, labelSize: panel.axis_label ? 18 : 0, labelFont: "11px system-ui",
        },
      ],
      series: [
        {},
        ...data.series.map((it, i) => ({
          label: it.name, show: isShown(it), stroke: styles[i].color, dash: styles[i].dash, width: 1.5, points,
          fill: isStacked ? `${styles[i].color}66` : undefined,
          paths: panel.style === "bars" ? uPlot.paths.bars({ size: [0.8, 40] }) : undefined,
        })),
        ...all.slice(data.series.length).map((_, i) => ({
          ...past,
          show: isStacked || isShown(withPast[i]),
          stroke: isStacked ? text : styles[data.series.indexOf(withPast[i])].color,
        })),
      ],
      bands: bands(),
      hooks: {
        drawClear: [annotations],
        draw: [thresholds, marks],
        setSelect: [select],
        setCursor: [point],
      },
    };
    chart = new uPlot(settings, [times, ...all], plot);
    plot.append(tip);
    bindTouch(chart);
    chart.over.addEventListener("dblclick", () => options.zoomOut?.());
    chart.over.addEventListener("mouseleave", () => { tip.hidden = true; });
  }

  function thresholds(u) {
    const { ctx } = u;
    ctx.save();
    ctx.lineWidth = devicePixelRatio;
    ctx.setLineDash([6, 4]);
    for (const threshold of panel.thresholds || []) {
      const y = u.valToPos(threshold.value, "y", true);
      if (!(y >= u.bbox.top && y <= u.bbox.top + u.bbox.height)) continue;
      ctx.strokeStyle = pageColor(threshold.level);
      ctx.beginPath();
      ctx.moveTo(u.bbox.left, y);
      ctx.lineTo(u.bbox.left + u.bbox.width, y);
      ctx.stroke();
    }
    ctx.restore();
  }

  // A triangle at the bottom for each time of `data.marks`.
  function marks(u) {
    const { ctx } = u, bottom = u.bbox.top + u.bbox.height, size = 5 * devicePixelRatio;
    ctx.save();
    for (const it of data.marks || []) {
      const x = u.valToPos(it.time / 1000, "x", true);
      if (x < u.bbox.left || x > u.bbox.left + u.bbox.width) continue;
      ctx.fillStyle = pageColor(it.level);
      ctx.beginPath();
      ctx.moveTo(x, bottom - (it.isTall ? 5 : 2) * size);
      ctx.lineTo(x - size, bottom);
      ctx.lineTo(x + size, bottom);
      ctx.fill();
    }
    ctx.restore();
  }

  const annotationLevel = (it) => (it.severity === "critical" ? "critical" : "warning");

  // Shaded once, however many fire; a line where each began.
  function annotations(u) {
    const { ctx } = u, { left, top, height } = u.bbox, right = left + u.bbox.width;
    const place = (time) => Math.min(right, Math.max(left, u.valToPos(time / 1000, "x", true)));
    let shaded = left;
    ctx.save();
    for (const it of data.annotations || []) {
      if (u.valToPos(it.begin / 1000, "x", true) > right || u.valToPos(it.end / 1000, "x", true) < left) continue;
      const from = place(it.begin), to = Math.max(from + 1, place(it.end));
      ctx.fillStyle = ctx.strokeStyle = pageColor(annotationLevel(it));
      ctx.globalAlpha = 0.12;
      if (to > shaded) ctx.fillRect(Math.max(from, shaded), top, to - Math.max(from, shaded), height);
      shaded = Math.max(shaded, to);
      ctx.globalAlpha = 0.7;
      ctx.beginPath();
      ctx.moveTo(from, top);
      ctx.lineTo(from, top + height);
      ctx.stroke();
    }
    ctx.restore();
  }

  // The alerts that fired at a time, by name.
  function annotationsAt(index) {
    const time = data.times[index];
    const found = (data.annotations || []).filter((it) => it.begin <= time && time <= it.end);
    return [...new Map(found.map((it) => [it.title, it])).values()].slice(0, TOOLTIP_ROWS);
  }

  function select(u) {
    if (u.select.width < 10) return;
    const from = u.posToVal(u.select.left, "x"), to = u.posToVal(u.select.left + u.select.width, "x");
    u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
    options.zoom?.(Math.round(from * 1000), Math.round(to * 1000));
  }

  function rowsAt(index) {
    return data.series
      .map((it, i) => ({ name: it.name, value: it.values[index], before: it.before?.[index] ?? null, style: styles[i], isShown: isShown(it) }))
      .filter((it) => it.isShown && it.value !== null)
      .sort((a, b) => b.value - a.value)
      .slice(0, TOOLTIP_ROWS);
  }

  function point(u) {
    const { idx, left, top } = u.cursor;
    const isKeyboard = plot.matches(":focus-visible") && at >= 0;
    if (idx === null || idx === undefined || left < 0 || !(isKeyboard || u.over.matches(":hover"))) { tip.hidden = true; return; }
    moved = Date.now();
    const rows = rowsAt(idx), value = u.posToVal(top, "y");
    const near = rows.reduce((best, it) => (best && Math.abs(best.value - value) <= Math.abs(it.value - value) ? best : it), null);
    const hasBefore = rows.some((it) => it.before !== null);
    const body = rows.map((it) => element("tr", { class: it === near && !isKeyboard ? "near" : "" },
      element("td", {}, swatch(it.style.color)), element("td", {}, it.name), element("td", {}, format(it.value)),
      hasBefore && element("td", { class: "value" }, format(it.before))));
    if (isStacked && rows.length > 1) {
      const total = rows.reduce((sum, it) => sum + it.value, 0);
      body.push(element("tr", {}, element("td", {}), element("td", {}, texts.total), element("td", {}, format(total))));
    }
    const firing = annotationsAt(idx).map((it) => element("div", { class: `level-${annotationLevel(it)}` }, `▲ ${it.title}`));
    tip.replaceChildren(element("div", {}, clock(data.times[idx], language)), element("table", {}, element("tbody", {}, ...body)), ...firing);
    tip.hidden = false;
    const x = left + u.over.offsetLeft, isRight = x > u.width / 2;
    tip.style.transform = `translate(${isRight ? Math.max(0, x - tip.offsetWidth - 12) : x + 12}px, ${Math.max(0, Math.min(top, u.height - tip.offsetHeight))}px)`;
  }

  function move(event) {
    const final = times.length - 1, step = event.shiftKey ? 10 : 1;
    const place = {
      ArrowLeft: Math.max(0, (at < 0 ? final + step : at) - step), ArrowRight: Math.min(final, at < 0 ? final : at + step),
      Home: 0, End: final,
    }[event.key];
    if (place === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    at = place;
    const rows = rowsAt(at);
    const top = rows.length ? chart.valToPos(rows[0].value, "y") : 0;
    chart.setCursor({ left: chart.valToPos(times[at], "x"), top: Number.isFinite(top) ? top : 0 }, true, true);
    const values = [...rows.slice(0, 5).map((it) => `${it.name} ${format(it.value)}`), ...annotationsAt(at).map((it) => it.title)].join(", ");
    announce(`${clock(data.times[at], language)}: ${values || texts["nothing-in-range"]}`);
  }

  function leave() {
    at = -1;
    tip.hidden = true;
    chart?.setCursor({ left: -10, top: -10 }, true, true);
  }

  // A click shows one series alone, a second one all again; with Ctrl it adds or takes away one.
  function choose(name, adds) {
    let now = chosen;
    if (adds) {
      now = new Set(now || data.series.map((it) => it.name));
      if (now.has(name)) now.delete(name); else now.add(name);
    } else {
      now = now && now.size === 1 && now.has(name) ? null : new Set([name]);
    }
    chosen = now && now.size && now.size < data.series.length ? now : null;
    options.choose?.(chosen);
    chart.batch(() => {
      data.series.forEach((it, i) => {
        chart.setSeries(i + 1, { show: isShown(it) });
        if (it.before && !isStacked) chart.setSeries(pastOf(i), { show: isShown(it) });
      });
      chart.delBand(null);
      bands().forEach((it, i) => chart.addBand(it, i));
      chart.setData([times, ...columns()]);
    });
    for (const it of legend.querySelectorAll("button")) it.setAttribute("aria-pressed", String(!chosen || chosen.has(it.dataset.series)));
  }

  function makeLegend() {
    const button = (it, i, ...more) => element("button", {
      type: "button", "data-series": it.name, "aria-pressed": String(isShown(it)),
      onclick: (event) => choose(it.name, event.ctrlKey || event.metaKey),
    }, swatch(styles[i].color, styles[i].dash), it.name, ...more);
    const more = data.hidden ? fill(texts["more-series"], { count: data.hidden }) : "";
    if (form !== "table") {
      const entries = data.series.map((it, i) => element("li", {}, button(it, i, element("span", { class: "value" }, format(last(it.values))))));
      return element("ul", { class: "legend" }, ...entries, more && element("li", { class: "value" }, more));
    }
    const rows = data.series.map((it, i) => {
      const found = summary(it.values);
      return element("tr", {}, element("td", {}, button(it, i)), ...[found.lowest, found.mean, found.highest, found.last].map((value) => element("td", {}, format(value))));
    });
    const heads = [texts.series, texts.lowest, texts.mean, texts.highest, texts.last].map((it) => element("th", { scope: "col" }, it));
    return element("div", { class: "legend" },
      element("table", {}, element("thead", {}, element("tr", {}, ...heads)), element("tbody", {}, ...rows)), more && element("p", { class: "value" }, more));
  }

  function placeLegend() {
    const made = makeLegend();
    if (legend) legend.replaceWith(made); else plot.after(made);
    legend = made;
    // What scrolls is reached by the keyboard.
    if (legend.scrollHeight > legend.clientHeight) legend.tabIndex = 0;
  }

  let waiting = 0;
  const observer = new ResizeObserver(() => {
    cancelAnimationFrame(waiting);
    waiting = requestAnimationFrame(() => {
      const width = Math.max(120, plot.clientWidth), height = Math.max(80, plot.clientHeight);
      if (width !== chart.width || height !== chart.height) chart.setSize({ width, height });
    });
  });
  const restyle = () => { build(); placeLegend(); };

  styles = seriesStyles(data.series.map((it) => it.name));
  placeLegend();  // first: the chart fills what is left
  build();
  plot.tabIndex = 0;
  plot.setAttribute("role", "application");
  plot.setAttribute("aria-label", fill(texts["chart-label"], { title: panel.title, count: data.series.length }));
  plot.addEventListener("keydown", move);
  plot.addEventListener("blur", leave);
  observer.observe(plot);
  DARK.addEventListener("change", restyle);

  return {
    // A pointer that rests on a chart must not keep it from being refreshed.
    isBusy: () => chart.select.width > 0 || (!tip.hidden && Date.now() - moved < READING),
    setLegend: (other) => { form = other; placeLegend(); },
    destroy: () => {
      observer.disconnect();
      cancelAnimationFrame(waiting);
      DARK.removeEventListener("change", restyle);
      plot.removeEventListener("keydown", move);
      plot.removeEventListener("blur", leave);
      for (const name of ["tabindex", "role", "aria-label"]) plot.removeAttribute(name);
      chart.destroy();
      legend.remove();
      tip.remove();
    },
  };
}

// A picture of what is drawn in `plot`: with its title, on the ground of the page, and with the legend.
export function toImage(plot, title, names) {
  const source = plot.querySelector("canvas");
  if (!source) return Promise.resolve(null);
  const ratio = devicePixelRatio, line = 18 * ratio, edge = 12 * ratio;
  const styles = seriesStyles(names), made = document.createElement("canvas");
  made.width = source.width + 2 * edge;
  const context = made.getContext("2d"), font = `${12 * ratio}px system-ui, sans-serif`;
  context.font = font;
  const places = [];
  let x = edge, row = 0;
  for (const name of names) {
    const width = context.measureText(name).width + 2 * line;
    if (x > edge && x + width > made.width - edge) { x = edge; row += 1; }
    places.push([x, row]);
    x += width;
  }
  made.height = source.height + 2 * edge + line * (names.length ? row + 3 : 2);
  context.fillStyle = pageColor("panel");
  context.fillRect(0, 0, made.width, made.height);
  context.fillStyle = pageColor("text");
  context.font = `600 ${13 * ratio}px system-ui, sans-serif`;
  context.fillText(title, edge, edge + line * 0.7);
  context.drawImage(source, edge, edge + line);
  context.font = font;
  names.forEach((name, i) => {
    const [left, place] = places[i], y = edge + line * (place + 2) + source.height;
    context.fillStyle = styles[i].color;
    context.fillRect(left, y - line * 0.35, line * 0.8, 4 * ratio);
    context.fillStyle = pageColor("text");
    context.fillText(name, left + line, y);
  });
  return new Promise((resolve) => made.toBlob(resolve, "image/png"));
}
