// Draws the values of a rule over the time of a review: both limits, the incidents, and the firings.

import { drawTimeSeries } from "./chart.js";

const figure = document.getElementById("limits");
const data = JSON.parse(figure.dataset.chart);
const texts = JSON.parse(figure.dataset.texts);

if (data) {
  const plot = figure.querySelector(".plot");
  plot.replaceChildren();
  plot.classList.add("chart");
  const limits = [{ value: data.limit, level: "critical" }];
  if (data.newLimit !== null) limits.push({ value: data.newLimit, level: "ok" });
  const shown = [...data.values.filter((it) => it !== null), ...limits.map((it) => it.value)];
  const low = Math.min(...shown), high = Math.max(...shown), room = (high - low) * 0.08 || 1;
  const panel = { title: figure.dataset.title, unit: "short", style: "line", min: low - room, max: high + room, thresholds: limits };
  drawTimeSeries(plot, panel, {
    times: data.times,
    series: [{ name: texts["review-value"], values: data.values }],
    annotations: data.incidents.map((it) => ({ ...it, severity: "warning" })),
    marks: [
      ...data.kept.map((time) => ({ time, level: "critical", isTall: true })),
      ...data.saved.map((time) => ({ time, level: "faint" })),
    ],
  }, { language: figure.dataset.language, texts, legend: "list" });
}
