// What every page has: live updates, shortcuts, the reader's time zone.

import { background, isTyping } from "./dom.js";

const body = document.body;

// The server shows times in the reader's zone, which only the browser knows.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone || "UTC";
if (!document.cookie.split("; ").includes(`toban_timezone=${zone}`)) {
  document.cookie = `toban_timezone=${zone}; path=/; max-age=31536000; samesite=lax`;
  if (document.cookie.includes("toban_timezone=")) location.reload();
}

body.addEventListener("htmx:config:request", (event) => Object.assign(event.detail.ctx.request.headers, background()));

// Live updates: what the stream says, and when it is lost.

const live = document.getElementById("live");
let lost = "";

function clock() {
  return new Date().toLocaleTimeString(document.documentElement.lang, { hourCycle: "h23" });
}

body.addEventListener("htmx:sse:error", (event) => {
  if (event.detail?.status === 401 || event.detail?.status === 403) location.reload();
  lost ||= clock();
  live.textContent = live.dataset.lost.replace("{since}", lost).replace(": {reason}", "");
});
body.addEventListener("htmx:sse:after:connection", () => {
  lost = live.textContent = "";
});

// What somebody is writing, and what they have opened, stays when its page is asked for again. htmx knows an element again
// by its `id` alone, and that of a form is its field of this name where it has one.
const written = new WeakSet();
let composing = false, kept = { open: new Set(), forms: new Map(), focus: null };
body.addEventListener("input", (event) => { if (event.target.form) written.add(event.target.form); });
body.addEventListener("compositionstart", () => { composing = true; });
body.addEventListener("compositionend", () => { composing = false; });

// The elements of a kind on the page, each by what it is: the second of the same has another name than the first.
function named(kind, nameOf) {
  const found = new Map(), times = new Map();
  for (const it of document.querySelectorAll(`#content ${kind}`)) {
    const name = nameOf(it);
    times.set(name, (times.get(name) || 0) + 1);
    found.set(`${name} ${times.get(name)}`, it);
  }
  return found;
}
// A title may count what is in it.
const details = () => named("details", (it) => it.getAttribute("id") || it.querySelector("summary").textContent.replace(/\d+/g, ""));
const forms = () => named("form", (it) => JSON.stringify([it.getAttribute("action"), ...[...it.querySelectorAll("input[type=hidden]")].map((field) => field.value)]));

body.addEventListener("htmx:before:swap", (event) => {
  // Kana that become kanji would be lost: what changed is shown by the next change, or the next time that is due.
  if (composing) return event.preventDefault();
  const focus = document.activeElement;
  kept = {
    open: new Set([...details()].filter(([, it]) => it.open).map(([name]) => name)),
    forms: new Map([...forms()].filter(([, it]) => written.has(it) || it.contains(focus))),
    focus,
  };
});
body.addEventListener("htmx:after:swap", () => {
  for (const [name, it] of details()) if (kept.open.has(name)) it.open = true;
  const now = forms();
  for (const [name, form] of kept.forms) if (now.has(name) && now.get(name) !== form) now.get(name).replaceWith(form);
  if (kept.focus !== document.activeElement && kept.focus?.closest("form")) kept.focus.focus({ preventScroll: true });
});

// Menus close on Escape and on a click elsewhere.
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll("details.menu[open]")) if (!menu.contains(event.target)) menu.open = false;
});

// A form may ask before it acts.
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm || event.target.dataset.confirm;
  if (question && !window.confirm(question)) event.preventDefault();
});

// Shortcuts. Single keys can be switched off (WCAG 2.1.4).

const dialog = document.getElementById("shortcuts");
const single = document.getElementById("single-keys");
single.checked = localStorage.getItem("toban.single-keys") !== "off";
single.addEventListener("change", () => localStorage.setItem("toban.single-keys", single.checked ? "on" : "off"));

let prefix = "";
let prefixTimer = 0;

function move(step) {
  const rows = [...document.querySelectorAll("[data-row]")];
  if (!rows.length) return;
  const now = rows.findIndex((it) => it.classList.contains("chosen"));
  rows[now]?.classList.remove("chosen");
  const next = rows[Math.max(0, Math.min(rows.length - 1, now + step))];
  next.classList.add("chosen");
  next.querySelector("a, button")?.focus();
  next.scrollIntoView({ block: "nearest" });
}

document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") {
    for (const menu of document.querySelectorAll("details.menu[open]")) {
      menu.open = false;
      menu.querySelector("summary").focus();
    }
    return;
  }
  if (isTyping(event) || event.ctrlKey || event.metaKey || event.altKey || !single.checked || dialog.open) return;
  if (prefix === "g") {
    prefix = "";
    const target = document.querySelector(`nav a[data-key="${CSS.escape(event.key)}"]`);
    if (target) { event.preventDefault(); location.assign(target.href); }
    return;
  }
  switch (event.key) {
    case "?": dialog.showModal(); break;
    case "/": {
      const field = document.querySelector("[data-search]");
      if (!field) return;
      field.focus();
      field.select();
      break;
    }
    case "g":
      prefix = "g";
      clearTimeout(prefixTimer);
      prefixTimer = setTimeout(() => { prefix = ""; }, 1500);
      return;
    case "j": move(1); break;
    case "k": move(-1); break;
    default: return;
  }
  event.preventDefault();
});
