// Completes PromQL while somebody writes it: metrics, functions, keywords, labels and their values.

import { announce, element, fill } from "./dom.js";

const TOKEN = /\s+|#[^\n]*|"(?:\\.|[^"\\])*"?|'(?:\\.|[^'\\])*'?|`[^`]*`?|[0-9][\w.]*|[a-zA-Z_:][\w:]*|==|!=|=~|!~|<=|>=|./gsu;
const IS_WORD = /^[a-zA-Z_:][\w:]*$/;
const MATCHED = new Set(["=", "!=", "=~", "!~"]);
const CLOSED = { ")": "(", "}": "{", "]": "[" };
const DURATIONS = ["1m", "5m", "15m", "1h", "6h", "1d", "7d"];
const SHOWN = 50;

/*
What can be completed at a place of an expression: its `kind` ("name", "label", "grouping", "value", "duration", or null),
the `word` that is there so far, `from` and `to` of what is replaced, the `metric` whose labels count, and the `label`.
*/
export function completionContext(text, cursor, words) {
  const open = [];
  let previous = "", metric = "", label = "", here = null;
  for (const { 0: token, index } of text.matchAll(TOKEN)) {
    if (index >= cursor) break;
    const end = index + token.length, isQuoted = /^["'`]/.test(token);
    const isClosed = isQuoted && token.length > 1 && token.at(-1) === token[0] && !/(^|[^\\])(\\\\)*\\.$/su.test(token);
    if (isQuoted && (cursor < end || (cursor === end && !isClosed))) {
      here = { kind: open.at(-1)?.token === "{" && MATCHED.has(previous) ? "value" : null, from: index + 1, to: isClosed ? end - 1 : end, quote: token[0], isClosed };
      break;
    }
    if (token[0] === "#" && cursor <= end) return { kind: null };
    if (IS_WORD.test(token) && cursor <= end) { here = { from: index, to: end }; break; }
    if (/^[0-9]/.test(token) && cursor <= end) {
      here = open.at(-1)?.token === "[" ? { from: index, to: end } : { kind: null, from: index, to: end };
      break;
    }
    if (/^\s/.test(token) || token[0] === "#") continue;
    if (token === "(" || token === "{" || token === "[") open.push({ token, isGrouping: token === "(" && words.grouping.includes(previous.toLowerCase()), metric });
    else if (token in CLOSED) open.pop();
    else if (IS_WORD.test(token)) {
      if (open.at(-1)?.token === "{") { if (previous === "{" || previous === ",") label = token; }
      else if (!open.at(-1)?.isGrouping && !isKnown(token, words)) metric = token;
    }
    previous = token;
  }
  here ??= { from: cursor, to: cursor };
  const top = open.at(-1);
  if (here.kind === undefined) {
    if (top?.token === "{") here.kind = previous === "{" || previous === "," ? "label" : null;
    else if (top?.token === "[") here.kind = "duration";
    else here.kind = top?.isGrouping ? "grouping" : "name";
  }
  // Labels to group by often stand before the metric.
  if (here.kind === "grouping" && !metric) metric = [...text.matchAll(TOKEN)].map((it) => it[0]).filter((it) => IS_WORD.test(it) && it.includes("_")).find((it) => !isKnown(it, words)) || "";
  return { ...here, word: text.slice(here.from, cursor), metric: top?.token === "{" ? top.metric : metric, label };
}

function isKnown(word, words) {
  return words.functions.includes(word) || words.aggregations.includes(word) || words.keywords.includes(word.toLowerCase());
}

// Those that begin with a word come first, then those that hold all its parts.
export function matching(candidates, word) {
  const small = word.toLowerCase(), parts = small.split(/[_:\s]+/).filter(Boolean);
  const begins = candidates.filter((it) => it.text.toLowerCase().startsWith(small));
  const holds = candidates.filter((it) => !begins.includes(it) && parts.every((part) => it.text.toLowerCase().includes(part)));
  return [...begins, ...holds].slice(0, SHOWN);
}

/*
Offers completions below a textarea. `source` has `words` (functions, aggregations, keywords, grouping) and the
promises `metrics()`, `labels(metric)` and `values(label, metric)`; `run()` is called at Enter when nothing is chosen.
*/
export function attachCompletion(area, source, texts, run) {
  const id = `completions-${area.id}`;
  const list = element("ul", { class: "completions", role: "listbox", id, "aria-label": texts.completions, hidden: true });
  area.after(list);
  for (const [name, value] of Object.entries({ "aria-autocomplete": "list", "aria-haspopup": "listbox", "aria-controls": id })) area.setAttribute(name, value);
  let context = null, offered = [], active = -1, asked = 0;

  function close() {
    asked += 1;
    list.hidden = true;
    active = -1;
    area.removeAttribute("aria-activedescendant");
  }

  async function candidates(found) {
    const plain = (texts_, detail = "") => texts_.map((text) => ({ text, detail }));
    switch (found.kind) {
      case "label": case "grouping": return plain((await source.labels(found.metric)).filter((it) => it !== "__name__"));
      case "value": return plain(await source.values(found.label, found.metric));
      case "duration": return plain(DURATIONS);
      case "name": return [
        ...plain(source.words.aggregations, "()"), ...plain(source.words.functions, "()"),
        ...(await source.metrics()), ...plain(source.words.keywords),
      ];
      default: return [];
    }
  }

  async function offer(isAsked = false) {
    const mine = ++asked;
    const found = completionContext(area.value, area.selectionStart, source.words);
    if (!found.kind || (found.kind === "name" && !found.word && !isAsked)) { close(); return; }
    const all = await candidates(found).catch(() => []);
    if (mine !== asked || document.activeElement !== area) return;
    context = found;
    offered = matching(all, found.word);
    if (!offered.length || (offered.length === 1 && offered[0].text === found.word)) { close(); return; }
    list.replaceChildren(...offered.map((it, i) => element("li", {
      role: "option", id: `${id}-${i}`, "aria-selected": "false",
      onpointerdown: (event) => { event.preventDefault(); accept(i); },
    }, element("span", {}, it.text), element("span", { class: "detail" }, it.detail))));
    list.hidden = false;
    announce(fill(texts["completions-count"], { count: offered.length, first: offered[0].text }));
    // What is a whole word already is not replaced by Enter.
    select(found.word && offered[0].text !== found.word ? 0 : -1);
  }

  function select(place) {
    list.children[active]?.setAttribute("aria-selected", "false");
    active = place;
    const option = list.children[active];
    if (!option) { area.removeAttribute("aria-activedescendant"); return; }
    option.setAttribute("aria-selected", "true");
    option.scrollIntoView({ block: "nearest" });
    area.setAttribute("aria-activedescendant", option.id);
  }

  function accept(place) {
    const { text, detail } = offered[place], rest = area.value.slice(context.to);
    let inserted = text, back = 0;
    if (context.kind === "name" && detail === "()" && !rest.startsWith("(")) {
      const isEmpty = !/^\s*[\w(]/.test(rest);
      inserted += isEmpty ? "()" : "(";
      back = isEmpty ? 1 : 0;
    }
    if (context.kind === "label" && !/^\s*(=|!)/.test(rest)) {
      const isOpen = !rest.includes("}");
      inserted += isOpen ? '=""}' : '=""';
      back = isOpen ? 2 : 1;
    }
    if (context.kind === "value") {
      inserted = context.quote === "`" ? text : text.replaceAll("\\", "\\\\").replaceAll(context.quote, `\\${context.quote}`).replaceAll("\n", "\\n");
      if (context.isClosed) back = -1; else inserted += context.quote;
    }
    area.setRangeText(inserted, context.from, context.to, "end");
    area.selectionStart = area.selectionEnd = context.from + inserted.length - back;
    close();
    const isLabel = context.kind === "label";
    area.dispatchEvent(new CustomEvent("input", { bubbles: true, detail: "completed" }));
    if (isLabel) offer();
  }

  area.addEventListener("input", (event) => { if (event.detail !== "completed") offer(); });
  area.addEventListener("click", () => { if (!list.hidden) offer(); });
  area.addEventListener("blur", close);
  area.addEventListener("keydown", (event) => {
    if (event.isComposing) return;
    const isOpen = !list.hidden;
    if (event.key === " " && event.ctrlKey) { event.preventDefault(); offer(true); return; }
    if (isOpen && (event.key === "ArrowDown" || event.key === "ArrowUp")) {
      event.preventDefault();
      const by = event.key === "ArrowDown" ? 1 : -1;
      select(active < 0 ? (by > 0 ? 0 : offered.length - 1) : (active + by + offered.length) % offered.length);
    } else if (isOpen && active >= 0 && (event.key === "Enter" || event.key === "Tab") && !event.shiftKey) {
      event.preventDefault();
      accept(active);
    } else if (isOpen && event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      close();
    } else if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      close();
      run();
    }
  });
}
