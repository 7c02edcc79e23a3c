/* Numbers, times and sizes as people read them. What is not known is a dash. */

export const UNKNOWN = "–";

const grouped = new Intl.NumberFormat("en-US", { maximumFractionDigits: 0 });

/** Three significant digits below 1,000; groups of thousands; M and G from a million on. */
export function number(value) {
  if (!isNumber(value)) return UNKNOWN;
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size >= 1e9) return `${trim((value / 1e9).toPrecision(3))} G`;
  if (size >= 1e6) return `${trim((value / 1e6).toPrecision(3))} M`;
  if (size >= 999.5) return grouped.format(value);
  if (size < 1e-3) return value.toExponential(1);
  return trim(value.toPrecision(3));
}

/** The ticks of an axis, all with as many digits as tell them apart. */
export function ticks(values) {
  const known = values.filter(isNumber);
  const most = Math.max(...known.map(Math.abs));
  if (!known.length || most >= 1e5 || most < 1e-3) return values.map(number);
  const digits = [0, 1, 2, 3, 4, 5, 6].find((places) =>
    known.every((value) => isRound(value * 10 ** places)),
  );
  return values.map((value) => (most >= 1000 ? count(value) : value.toFixed(digits ?? 6)));
}

/** A whole number with its thousands apart. */
export function count(value) {
  return isNumber(value) ? grouped.format(value) : UNKNOWN;
}

/** A share of one as percent. */
export function percent(value, digits = 1) {
  return isNumber(value) ? `${(100 * value).toFixed(value === 0 ? 0 : digits)} %` : UNKNOWN;
}

/** Seconds as the two largest units that matter: 850 ms, 4.2 s, 3 min 5 s, 2 h 14 min, 3 d 4 h. */
export function duration(seconds) {
  if (!isNumber(seconds)) return UNKNOWN;
  if (seconds === 0) return "0 s";
  if (seconds < 0.9995) return `${Math.round(1000 * seconds)} ms`;
  if (seconds < 59.95) return `${trim(seconds.toPrecision(seconds < 10 ? 2 : 3))} s`;
  const whole = Math.round(seconds);
  if (whole < 3600) return two(whole, 60, "min", 1, "s");
  if (whole < 86400) return two(whole, 3600, "h", 60, "min");
  return two(whole, 86400, "d", 3600, "h");
}

/** Seconds on an axis: 0:30, 12:00, 1:05:00. */
export function clockDuration(seconds) {
  const whole = Math.round(Math.abs(seconds));
  const parts = [Math.floor((whole % 3600) / 60), whole % 60].map((part) =>
    String(part).padStart(2, "0"),
  );
  const hours = Math.floor(whole / 3600);
  return hours ? [hours, ...parts].join(":") : parts.join(":").replace(/^0(?=\d)/, "");
}

/** Bytes in units of 1000. */
export function bytes(value) {
  if (!isNumber(value)) return UNKNOWN;
  const units = ["B", "kB", "MB", "GB", "TB"];
  const index = Math.min(units.length - 1, Math.floor(Math.log10(Math.max(1, value)) / 3));
  return `${trim((value / 1000 ** index).toPrecision(3))} ${units[index]}`;
}

/** Seconds since 1970 as the time of day, with the date unless it is today. */
export function moment(seconds) {
  if (!isNumber(seconds)) return UNKNOWN;
  const date = new Date(1000 * seconds);
  const time = date.toTimeString().slice(0, 8);
  if (date.toDateString() === new Date().toDateString()) return time;
  const day = [date.getFullYear(), date.getMonth() + 1, date.getDate()];
  return `${day.map((part) => String(part).padStart(2, "0")).join("-")} ${time}`;
}

/** With its sign in front, as advantages and log-probs are read. */
export function signed(value, digits = 2) {
  if (!isNumber(value)) return UNKNOWN;
  const text = Math.abs(value).toFixed(digits);
  return (
    (value < 0 && Number(text) !== 0 ? "−" : value > 0 && Number(text) !== 0 ? "+" : "") + text
  );
}

/** "3 leaves", "1 leaf". */
export function plural(value, one, many = `${one}s`) {
  return `${count(value)} ${value === 1 ? one : many}`;
}

function isRound(value) {
  return Math.abs(value - Math.round(value)) < 1e-6;
}

function isNumber(value) {
  return typeof value === "number" && Number.isFinite(value);
}

function trim(text) {
  return text.includes(".") && !text.includes("e") ? text.replace(/\.?0+$/, "") : text;
}

function two(whole, large, largeName, small, smallName) {
  const rest = Math.floor((whole % large) / small);
  const first = `${Math.floor(whole / large)} ${largeName}`;
  return rest ? `${first} ${rest} ${smallName}` : first;
}
