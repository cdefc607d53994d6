// Small charts in SVG: a line over time, and a sparkline.

import { h, s, attr, say } from "./dom.js";
import { clock, number, value } from "./format.js";

const isNumber = (one) => typeof one === "number" && Number.isFinite(one);
const height = (one) => (isNumber(one) ? one : one === true ? 1 : one === false ? 0 : null);

// The last values of a property, as they came while the page was open.
export class Spark {
  constructor(width = 72, tall = 20, most = 48) {
    Object.assign(this, { width, tall, most, points: [] });
    this.line = s("polyline", { fill: "none", "stroke-width": "1.5", "stroke-linejoin": "round" });
    this.element = s("svg", { class: "spark", viewBox: `0 0 ${width} ${tall}`, width, height: tall, "aria-hidden": "true" }, this.line);
  }

  add(at, one) {
    const y = height(one);
    const last = this.points[this.points.length - 1];
    if (y === null || (last && last[0] === at)) return;
    this.points.push([at, y]);
    if (this.points.length > this.most) this.points.shift();
    if (this.points.length < 2) return;
    const ys = this.points.map((point) => point[1]);
    const [low, high] = [Math.min(...ys), Math.max(...ys)];
    const step = this.width / (this.most - 1);
    const start = this.width - step * (this.points.length - 1);
    const room = this.tall - 4;
    const drawn = ys.map((one, n) => `${(start + n * step).toFixed(1)},${(2 + room - (high > low ? ((one - low) / (high - low)) * room : room / 2)).toFixed(1)}`);
    attr(this.line, "points", drawn.join(" "));
  }
}

function ticks(low, high, most) {
  const rough = (high - low) / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((one) => one * power).find((one) => one >= rough);
  const found = [];
  for (let at = Math.ceil(low / step) * step; at <= high + step * 1e-9; at += step) found.push(Math.abs(at) < step * 1e-9 ? 0 : at);
  return found;
}

const STEPS = [1, 5, 10, 15, 30, 60, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800].map((one) => one * 1000);

function times(since, until, most) {
  const step = STEPS.find((one) => one >= (until - since) / most) || 604800000;
  const offset = new Date(since).getTimezoneOffset() * 60000;
  const found = [];
  for (let at = Math.ceil((since - offset) / step) * step + offset; at <= until; at += step) found.push(at);
  return found;
}

export class Chart {
  constructor(label) {
    this.label = label;
    this.plot = s("svg", { class: "chart", role: "img", preserveAspectRatio: "none" });
    this.tip = h("output", { class: "tip", hidden: true });
    this.element = h("div", { class: "chartbox" }, this.plot, this.tip);
    this.points = [];
    this.gaps = [];
    this.unit = "";
    this.plot.addEventListener("pointermove", (event) => this.point(event));
    this.plot.addEventListener("pointerleave", () => this.leave());
    this.sized = new ResizeObserver(() => this.draw());
    this.sized.observe(this.element);
  }

  end() {
    this.sized.disconnect();
  }

  show({ points, gaps, since, until, unit, desired }) {
    Object.assign(this, { points, gaps, since, until, unit, desired });
    this.draw();
  }

  draw() {
    const width = this.element.clientWidth;
    if (!width || this.since === undefined) return;
    const tall = Math.round(Math.max(180, Math.min(280, width * 0.36)));
    const box = { left: 52, right: 12, top: 10, bottom: 26 };
    attr(this.plot, "viewBox", `0 0 ${width} ${tall}`);
    attr(this.plot, "height", tall);
    const shown = this.points.filter((point) => point.at <= this.until);
    const inside = shown.filter((point) => point.at >= this.since && height(point.value) !== null);
    const heights = inside.map((point) => height(point.value));
    if (isNumber(this.desired) && heights.length) heights.push(this.desired);
    const logic = inside.length > 0 && inside.every((point) => typeof point.value === "boolean");
    let [low, high] = heights.length ? [Math.min(...heights), Math.max(...heights)] : [0, 1];
    if (logic) [low, high] = [0, 1];
    if (high === low) [low, high] = [low - Math.max(1, Math.abs(low) * 0.05), high + Math.max(1, Math.abs(high) * 0.05)];
    const room = (high - low) * 0.06;
    [low, high] = [low - room, high + room];
    const x = (at) => box.left + ((at - this.since) / (this.until - this.since)) * (width - box.left - box.right);
    const y = (one) => tall - box.bottom - ((one - low) / (high - low)) * (tall - box.top - box.bottom);
    Object.assign(this, { x, box, tall, width });
    const made = [];
    for (const one of logic ? [0, 1] : ticks(low, high, 4)) {
      made.push(s("line", { class: "grid", x1: box.left, x2: width - box.right, y1: y(one), y2: y(one) }));
      const words = logic ? (one ? "on" : "off") : number(Math.abs(one) < 1e-12 ? 0 : Number(one.toPrecision(6)));
      made.push(s("text", { class: "axis", x: box.left - 8, y: y(one) + 4, "text-anchor": "end" }, words));
    }
    const long = this.until - this.since > 86400000 * 1.5;
    for (const at of times(this.since, this.until, Math.max(2, Math.floor(width / 130)))) {
      const date = new Date(at);
      const words = long
        ? date.toLocaleDateString([], { day: "numeric", month: "short" })
        : date.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: this.until - this.since < 300000 ? "2-digit" : undefined, hourCycle: "h23" });
      if (x(at) < width - 24) made.push(s("text", { class: "axis", x: x(at), y: tall - 8, "text-anchor": "middle" }, words));
    }
    for (const gap of this.gaps) {
      const [from, to] = [Math.max(x(gap.since), box.left), Math.min(x(gap.until), width - box.right)];
      if (to > from) made.push(s("rect", { class: "gap", x: from, y: box.top, width: Math.max(2, to - from), height: tall - box.top - box.bottom }, s("title", {}, `${gap.count} readings were dropped here: ${gap.why}`)));
    }
    if (isNumber(this.desired) && heights.length) made.push(s("line", { class: "wanted", x1: box.left, x2: width - box.right, y1: y(this.desired), y2: y(this.desired) }));
    const path = this.path(shown, x, y, logic);
    if (path.line) {
      if (!logic) made.push(s("path", { class: "area", d: `${path.area}` }));
      made.push(s("path", { class: "line", d: path.line }));
    }
    for (const at of path.bad) made.push(s("line", { class: "badmark", x1: x(at), x2: x(at), y1: tall - box.bottom - 6, y2: tall - box.bottom }));
    if (!path.line) made.push(s("text", { class: "axis", x: (width + box.left) / 2, y: tall / 2, "text-anchor": "middle" }, "no readings in this time"));
    this.cross = s("line", { class: "cross", y1: box.top, y2: tall - box.bottom, visibility: "hidden" });
    this.plot.replaceChildren(s("title", {}, this.words(inside)), ...made, this.cross);
  }

  words(inside) {
    if (!inside.length) return `${this.label}: no readings in this time`;
    const last = inside[inside.length - 1];
    return `${this.label}: ${inside.length} points from ${clock(inside[0].at)} to ${clock(last.at)}, last ${value(last.value, this.unit)}`;
  }

  // A reading that is not good breaks the line; the value before the window leads into it.
  path(points, x, y, logic) {
    const base = this.tall - this.box.bottom;
    let line = "";
    let area = "";
    let open = false;
    let lastX = 0;
    let lastY = 0;
    const bad = [];
    const pauses = points.slice(1).map((point, n) => point.at - points[n].at).sort((a, b) => a - b);
    const usual = pauses.length < 8 ? 0 : pauses[pauses.length >> 1];
    const long = Math.max(5000, 4 * usual); // nothing was reported: the value stood
    let lastAt = 0;
    const close = () => {
      if (open) area += `L${lastX.toFixed(1)},${base}Z`;
      open = false;
    };
    points.forEach((point, n) => {
      const one = height(point.value);
      if (point.at < this.since && points[n + 1] && points[n + 1].at < this.since) return;
      if (point.quality && point.quality !== "good") {
        if (point.at >= this.since) bad.push(point.at);
        close();
        return;
      }
      if (one === null) return;
      const [px, py] = [Math.max(x(point.at), this.box.left), y(one)];
      if (!open) {
        line += `M${px.toFixed(1)},${py.toFixed(1)}`;
        area += `M${px.toFixed(1)},${base}L${px.toFixed(1)},${py.toFixed(1)}`;
      } else {
        const step = logic || point.at - lastAt > long ? `L${px.toFixed(1)},${lastY.toFixed(1)}` : "";
        line += `${step}L${px.toFixed(1)},${py.toFixed(1)}`;
        area += `${step}L${px.toFixed(1)},${py.toFixed(1)}`;
      }
      [open, lastX, lastY, lastAt] = [true, px, py, point.at];
    });
    if (open) {
      const edge = Math.min(x(this.until), this.width - this.box.right);
      line += `L${edge.toFixed(1)},${lastY.toFixed(1)}`;
      area += `L${edge.toFixed(1)},${lastY.toFixed(1)}`;
      lastX = edge;
    }
    close();
    return { line, area, bad };
  }

  point(event) {
    if (!this.x || !this.points.length) return;
    const where = this.plot.getBoundingClientRect();
    const at = this.since + ((event.clientX - where.left - this.box.left) / (this.width - this.box.left - this.box.right)) * (this.until - this.since);
    let found = null;
    for (const point of this.points) {
      if (point.at > at) break;
      found = point;
    }
    if (!found || found.at < this.since) return this.leave();
    const px = this.x(found.at);
    attr(this.cross, "x1", px);
    attr(this.cross, "x2", px);
    attr(this.cross, "visibility", "visible");
    this.tip.hidden = false;
    say(this.tip, `${clock(found.at)}  ${value(found.value, this.unit)}${found.quality && found.quality !== "good" ? `, ${found.quality}` : ""}`);
    this.tip.style.left = `${Math.min(Math.max(px, 70), this.width - 90)}px`;
  }

  leave() {
    this.tip.hidden = true;
    if (this.cross) attr(this.cross, "visibility", "hidden");
  }
}
