// One twin: all its properties, and of the one that is chosen its course, who set it and why, and a way to set it.

import { get, post } from "./api.js";
import { h, say, attr, Rows } from "./dom.js";
import { Chart } from "./chart.js";
import { age, clock, now, parts, quality, value } from "./format.js";
import { badge } from "./devices.js";
import { here, link, sentence, tell } from "./app.js";

const AGAIN_MS = 3000;
const isPassing = (error) => error.status === 0 || error.status >= 500; // it may be answered another time

const RANGES = [
  ["15 min", 900000],
  ["1 h", 3600000],
  ["24 h", 86400000],
  ["7 days", 604800000],
];

export function twin({ me, where, main }) {
  const key = where.rest.join("/");
  const { name } = parts(key);
  const state = badge();
  const facts = h("dl", { class: "facts" });
  const body = h("tbody");
  const missing = h("p", { class: "problem", hidden: true }, "There is no such twin, or it was deleted.");
  const side = h("section", { class: "card detail", "aria-label": "Property", hidden: true });
  main.replaceChildren(
    h("p", { class: "crumb" }, h("a", { href: link("devices", { kind: parts(key).kind === "device" ? "" : parts(key).kind }) }, "← All twins")),
    h("div", { class: "headline" }, h("h1", {}, name), state.element),
    facts,
    missing,
    h(
      "div",
      { class: "split" },
      h(
        "div",
        { class: "card scroll", tabindex: "0", role: "region", "aria-label": "Properties" },
        h("table", { class: "wide" }, h("caption", { class: "hidden" }, "Properties"), h("thead", {}, h("tr", {}, ["Property", "Reported", "Desired", "Quality", "Age"].map((one) => h("th", { scope: "col" }, one)))), body),
      ),
      side,
    ),
  );
  const rows = new Rows(body, row);
  let known = null;
  let chosen = null;

  function row({ property }) {
    const reported = h("td", { class: "number" });
    const desired = h("td", { class: "number desired" });
    const how = h("td");
    const when = h("span");
    const choose = h("a", { href: link(`twin/${key}`, { p: property }) }, property);
    const element = h("tr", { "data-property": property }, h("th", { scope: "row" }, choose), reported, desired, how, h("td", { class: "muted" }, when));
    return {
      element,
      update() {
        const leaf = (known.reported || {})[property];
        const want = (known.desired || {})[property];
        const pending = property in (known.delta || {});
        say(reported, leaf ? value(leaf.value, leaf.unit) : "–");
        say(desired, want ? value(want.value, want.unit) : "");
        attr(desired, "data-pending", pending || null);
        attr(desired, "title", pending ? "The device has not followed yet" : null);
        say(how, leaf ? quality(leaf) : "");
        attr(element, "data-quality", leaf && leaf.quality && leaf.quality !== "good" ? leaf.quality : null);
        attr(when, "data-at", leaf ? leaf.at : null);
        say(when, leaf ? age(leaf.at) : "");
        attr(element, "aria-selected", chosen && chosen.property === property ? "true" : null);
      },
    };
  }

  function draw() {
    const properties = [...new Set([...Object.keys(known.reported || {}), ...Object.keys(known.desired || {})])].sort();
    rows.show(properties.map((property) => ({ property })), (one) => one.property);
    const told = [
      ["Kind", parts(key).kind],
      ["Namespace", parts(key).namespace],
      ["Model", known.model],
      ["Gateway", known.gateway],
      ...Object.entries(known.labels || {}),
      ["Version", known.version],
    ].filter(([, words]) => words);
    facts.replaceChildren(...told.map(([term, words]) => h("div", {}, h("dt", {}, term), h("dd", {}, String(words)))));
    return properties;
  }

  function choose() {
    const properties = Object.keys(known.reported || {}).concat(Object.keys(known.desired || {}));
    const asked = here().params.get("p");
    const first = properties.filter((one) => typeof ((known.reported || {})[one] || {}).value === "number").sort()[0];
    const property = asked || first || properties.sort()[0];
    if (!property || (chosen && chosen.property === property)) return;
    if (chosen) chosen.end();
    side.hidden = false;
    chosen = detail({ me, key, property, side, known: () => known });
    draw();
    if (asked) chosen.heading.focus({ preventScroll: innerWidth > 900 });
  }

  return {
    title: name,
    params: { twin: key },
    stays(next) {
      const same = next.name === "twin" && next.rest.join("/") === key;
      if (same && known) choose();
      return same;
    },
    listing(said) {
      missing.hidden = Boolean(said.names.length);
      if (said.trouble) say(missing, sentence(said.trouble));
    },
    twins(said) {
      known = said.twins[0] || known;
      state.update(known);
      draw();
      choose();
      if (chosen) chosen.update();
    },
    end: () => chosen && chosen.end(),
  };
}

// -- one property ------------------------------------------------------------------------------------------------

function detail({ me, key, property, side, known }) {
  const heading = h("h2", { tabindex: "-1" }, property);
  const big = h("p", { class: "big" });
  const about = h("p", { class: "muted" });
  const chart = new Chart(property);
  const note = h("p", { class: "muted small" });
  const why = h("div", { class: "why" });
  const setting = h("div");
  let range = 900000;
  let points = [];
  let gaps = [];
  let spec = null;
  let ended = false;
  let drawn = 0;
  const ranges = RANGES.map(([words, ms]) => [ms, h("button", { type: "button", onclick: () => load(ms) }, words)]);
  side.replaceChildren(
    heading,
    big,
    about,
    setting,
    h("div", { class: "bar tight" }, h("h3", {}, "Course"), h("div", { class: "choice", role: "group", "aria-label": "Time" }, ranges.map((one) => one[1]))),
    chart.element,
    note,
    h("h3", {}, "Who set it, and why"),
    why,
  );

  const leaf = () => (known().reported || {})[property];
  const want = () => (known().desired || {})[property];
  const unit = () => (leaf() || want() || {}).unit || "";

  async function load(ms) {
    range = ms;
    for (const [one, button] of ranges) attr(button, "aria-pressed", one === range);
    const until = Math.round(now()) + 2000;
    try {
      const said = await get("/page/history", { twin: key, property, since: until - range, until });
      if (ended || range !== ms) return;
      points = said.readings || [];
      gaps = said.gaps || [];
      say(note, said.sampled ? "There are too many readings for one picture: these are some from all of the time." : "");
    } catch (error) {
      if (ended) return;
      [points, gaps] = [[], []];
      say(note, error.status === 422 ? "No history is kept of this property: the course begins when you came." : sentence(error.message));
      if (isPassing(error)) setTimeout(() => ended || range !== ms || load(ms), AGAIN_MS);
    }
    follow();
    draw();
  }

  function follow() {
    const one = leaf();
    if (!one || !one.at) return;
    const last = points[points.length - 1];
    if (last && last.at >= one.at) return;
    points.push({ at: one.at, value: one.value, quality: one.quality });
    if (points.length > 2000) points = points.slice(-1500);
  }

  function draw() {
    const until = now();
    drawn = until;
    chart.show({ points, gaps, since: until - range, until, unit: unit(), desired: want() ? want().value : undefined });
  }

  async function explain() {
    try {
      const said = await get("/page/explain", { twin: key, property });
      if (ended) return;
      if (spec === null) {
        spec = said.spec || {};
        form();
      }
      why.replaceChildren(...reasons(said));
    } catch (error) {
      if (ended) return;
      why.replaceChildren(h("p", { class: "muted" }, sentence(error.message)));
      if (isPassing(error)) setTimeout(() => ended || explain(), AGAIN_MS);
    }
  }

  function form() {
    say(about, [spec.description, spec.type && spec.type.toLowerCase(), spec.access === "ReadOnly" ? "read only" : ""].filter(Boolean).join(" · "));
    const open = !spec.type && /^(shadow)\//.test(key);
    if (!me.may_write || !(open || spec.access === "ReadWrite")) return;
    setting.replaceChildren(setForm({ key, property, spec, unit: unit(), current: want() || leaf(), onDone: explain }));
  }

  let version = "";
  const clockwork = setInterval(() => now() - drawn > 900 && draw(), 1000);
  load(range);
  explain();
  return {
    property,
    heading,
    update() {
      const one = leaf();
      say(big, one ? value(one.value, one.unit) : "not reported yet");
      attr(big, "data-quality", one && one.quality && one.quality !== "good" ? one.quality : null);
      follow();
      if (now() - drawn > 240) draw();
      const marks = JSON.stringify([want(), property in (known().delta || {})]);
      if (version && marks !== version) explain();
      version = marks;
    },
    end() {
      ended = true;
      clearInterval(clockwork);
      chart.end();
    },
  };
}

function reasons(said) {
  const made = [];
  const sites = { edge: "the gateway", cloud: "the cloud" };
  const slots = said.slots || [];
  if (slots.length) {
    const lines = slots.map((slot) => {
      const won = slot.site === said.winner;
      const what = slot.deleted ? "took the wish back" : `wants ${value(slot.value)}`;
      return h("li", { "data-won": won || null }, h("strong", {}, slot.by || "somebody"), ` at ${sites[slot.site]} ${what}`, h("span", { class: "muted" }, ` · ${clock(slot.at)}${slots.length > 1 ? (won ? " · stands" : " · overruled") : ""}`));
    });
    made.push(h("ul", { class: "plain" }, lines));
  }
  made.push(h("p", {}, sentence(said.why)));
  if (slots.length) made.push(h("p", { class: said.pending ? "pendingtext" : "muted" }, said.pending ? "The device has not followed yet." : "The device has followed."));
  if (said.reported) made.push(h("p", { class: "muted small" }, `Reported by ${said.reported.by || "the device"} at ${clock(said.reported.at)}. Rules: ${said.rules.join(", ") || "none"}.`));
  return made;
}

// -- setting -----------------------------------------------------------------------------------------------------

function setForm({ key, property, spec, unit, current, onDone }) {
  const problem = h("p", { class: "problem", role: "alert" });
  const field = input(spec, current);
  const rules = [];
  if (spec.minimum !== null && spec.minimum !== undefined) rules.push(`from ${spec.minimum}`);
  if (spec.maximum !== null && spec.maximum !== undefined) rules.push(`to ${spec.maximum}`);
  const hint = h("span", { class: "muted small", id: "hint" }, [rules.join(" "), unit].filter(Boolean).join(" "));
  const button = h("button", { class: "primary" }, "Set");
  const back = h("button", { type: "button", class: "quiet", onclick: () => send({ unset: [property] }, "The wish is taken back.") }, "Take back");
  attr(field.element, "aria-describedby", "hint");

  async function send(change, words) {
    button.disabled = back.disabled = true;
    say(problem, "");
    attr(field.element, "aria-invalid", null);
    try {
      await post("/page/set", { twin: key, ...change });
      tell(words);
      onDone();
    } catch (error) {
      say(problem, `${sentence(error.message)} ${error.remedy}`);
      attr(field.element, "aria-invalid", "true");
    }
    button.disabled = back.disabled = false;
  }

  return h(
    "form",
    {
      class: "set",
      onsubmit: (event) => {
        event.preventDefault();
        send({ desired: { [property]: field.read() } }, `${property} is to be ${value(field.read(), unit)}.`);
      },
    },
    h("label", { for: "desired" }, "Desired"),
    h("div", { class: "bar tight" }, field.element, button, back),
    hint,
    problem,
  );
}

// The rules of the model are the server's to know: what is typed is sent as it is, and its answer is shown.
function input(spec, current) {
  const before = current ? current.value : undefined;
  if (spec.enum && spec.enum.length) {
    const element = h("select", { id: "desired" }, spec.enum.map((one, n) => h("option", { value: n, selected: one === before }, String(one))));
    return { element, read: () => spec.enum[Number(element.value)] };
  }
  if (spec.type === "BOOLEAN") {
    const element = h("select", { id: "desired" }, h("option", { value: "true", selected: before === true }, "on"), h("option", { value: "false", selected: before !== true }, "off"));
    return { element, read: () => element.value === "true" };
  }
  const text = before === undefined || before === null ? "" : typeof before === "object" ? JSON.stringify(before) : String(typeof before === "number" ? Number(before.toPrecision(7)) : before);
  const numeric = ["INT", "FLOAT", "DOUBLE"].includes(spec.type);
  const element = h("input", { id: "desired", value: text, autocomplete: "off", spellcheck: "false", inputmode: numeric ? "decimal" : null });
  const typed = (words) => {
    try {
      return JSON.parse(words);
    } catch {
      return words;
    }
  };
  return {
    element,
    read() {
      const words = element.value.trim();
      if (numeric) return /^[-+]?(\d+[.,]?\d*|[.,]\d+)(e[-+]?\d+)?$/i.test(words) ? Number(words.replace(",", ".")) : words;
      return spec.type === "STRING" || spec.type === "BYTES" ? element.value : typed(words);
    },
  };
}
