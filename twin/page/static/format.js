// Values, times and names as people read them.

let skew = 0;

// The gateway's clock counts: a phone's may be off.
export const setNow = (now) => (skew = now - Date.now());
export const now = () => Date.now() + skew;

export function value(one, unit = "") {
  if (one === undefined) return "–";
  if (one === null) return "none";
  if (one === true) return "on";
  if (one === false) return "off";
  if (typeof one === "number") return withUnit(number(one), unit);
  if (typeof one === "string") return withUnit(one === "" ? "“”" : one.length > 200 ? `${one.slice(0, 200)} …` : one, unit);
  const text = JSON.stringify(one);
  return text.length > 200 ? `${text.slice(0, 200)} …` : text;
}

const withUnit = (text, unit) => (unit ? `${text} ${unit}` : text);

export function number(one) {
  if (!Number.isFinite(one)) return String(one);
  if (Number.isInteger(one)) return Math.abs(one) < 100000 ? String(one) : one.toLocaleString("en").replaceAll(",", " ");
  const size = Math.abs(one);
  if (size >= 1000) return one.toFixed(0);
  if (size >= 100) return one.toFixed(1);
  if (size >= 0.01) return one.toFixed(2);
  return one.toPrecision(2);
}

export function duration(ms) {
  const seconds = Math.max(0, ms) / 1000;
  if (seconds < 10) return `${seconds.toFixed(1)} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} days`;
}

export const age = (at) => (at ? duration(now() - at) : "–");

export function clock(at) {
  const date = new Date(at);
  const time = date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit", hourCycle: "h23" });
  const today = new Date(now()).toDateString() === date.toDateString();
  return today ? time : `${date.toLocaleDateString([], { day: "numeric", month: "short" })} ${time}`;
}

export function bytes(count) {
  if (count < 1024) return `${count} B`;
  const units = ["KB", "MB", "GB", "TB"];
  let at = -1;
  do {
    count /= 1024;
    at += 1;
  } while (count >= 1024 && at < units.length - 1);
  return `${count < 10 ? count.toFixed(1) : Math.round(count)} ${units[at]}`;
}

export const rate = (perSecond) => (perSecond >= 100 ? perSecond.toFixed(0) : perSecond.toFixed(1)) + "/s";
export const plural = (count, one, many = `${one}s`) => `${number(count)} ${count === 1 ? one : many}`;

export function parts(twin) {
  const [kind, namespace, ...rest] = twin.split("/");
  return { kind, namespace, name: rest.join("/") };
}

const REASONS = { timeout: "timed out", mapper_down: "its mapper is down", stale: "not refreshed" };

export function quality(leaf) {
  const word = leaf.quality || "good";
  return leaf.reason ? `${word}, ${REASONS[leaf.reason] || leaf.reason.replaceAll("_", " ")}` : word;
}

// How a twin stands: as the server sorts them, in page/listing.py.
export function standing(twin) {
  const leaves = Object.values(twin.reported || {});
  if (leaves.some((leaf) => leaf.quality === "bad")) return "bad";
  if (leaves.some((leaf) => leaf.quality === "uncertain")) return "uncertain";
  if (Object.keys(twin.delta || {}).length) return "pending";
  return leaves.length ? "good" : "silent";
}

export const STANDING = {
  good: ["good", "Good"],
  pending: ["wait", "Pending"],
  uncertain: ["warn", "Uncertain"],
  bad: ["bad", "Bad"],
  silent: ["none", "Silent"],
};

export const newest = (twin) => Math.max(0, ...Object.values(twin.reported || {}).map((leaf) => leaf.at || 0));
