// Numbers with their units. `number_format.py` writes the same.

const IEC = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];
const DURATIONS = [[86400, "d"], [3600, "h"], [60, "min"], [1, "s"]];
const COMPACT = {
  en: [[1e12, "T"], [1e9, "B"], [1e6, "M"], [1e4, "K"]],
  ja: [[1e12, "兆"], [1e8, "億"], [1e4, "万"]],
};

export function formatValue(value, unit, language = "en") {
  if (value === null || value === undefined || Number.isNaN(value)) return "–";
  if (!Number.isFinite(value)) return value > 0 ? "∞" : "-∞";
  switch (unit) {
    case "bytes": return bytes(value);
    case "binBps": return `${bytes(value)}/s`;
    case "s": return duration(value);
    case "percent": return `${plain(value)} %`;
    case "percentunit": return `${plain(value * 100)} %`;
    case "reqps":
    case "ops": return `${compact(value, language)}/s`;
    case "none": return plain(value);
    case "dateTimeFromNow": return new Date(value).toLocaleString(language);
    default: return compact(value, language);
  }
}

function plain(value) {
  if (value === 0) return "0";
  if (Math.abs(value) >= 1000) return grouped(value);
  const digits = Math.max(0, 3 - Math.floor(Math.log10(Math.abs(value))));
  const text = value.toFixed(Math.min(digits, 9));
  return text.includes(".") ? text.replace(/0+$/, "").replace(/\.$/, "") : text;
}

function grouped(value) {
  return value.toFixed(0).replace(/\B(?=(\d{3})+$)/g, ",");
}

function compact(value, language) {
  for (const [size, word] of COMPACT[language] || COMPACT.en) {
    if (Math.abs(value) >= size) return `${plain(value / (word === "K" ? 1e3 : size))}${word}`;
  }
  return plain(value);
}

function bytes(value) {
  let size = Math.abs(value), place = 0;
  while (size >= 1024 && place < IEC.length - 1) { size /= 1024; place += 1; }
  return `${plain(value < 0 ? -size : size)} ${IEC[place]}`;
}

function duration(value) {
  const size = Math.abs(value), sign = value < 0 ? "-" : "";
  if (size === 0) return "0 s";
  if (size < 0.001) return `${sign}${plain(size * 1e6)} µs`;
  if (size < 1) return `${sign}${plain(size * 1e3)} ms`;
  if (size < 60) return `${sign}${plain(size)} s`;
  let rest = Math.floor(size);
  const parts = [];
  for (const [seconds, word] of DURATIONS) {
    const many = Math.floor(rest / seconds);
    rest -= many * seconds;
    if (many || parts.length) parts.push(many ? `${many} ${word}` : "");
    if (parts.length === 2) break;
  }
  return sign + parts.filter(Boolean).join(" ");
}
