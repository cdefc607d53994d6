// Twins as cards: search, filter, a page of them at a time, live.

import { h, say, attr, Rows } from "./dom.js";
import { Spark } from "./chart.js";
import { age, newest, parts, plural, quality, standing, value, STANDING } from "./format.js";
import { link } from "./app.js";

const SHOWN = 6;
const KINDS = [
  ["device", "Devices"],
  ["shadow", "Shadows"],
  ["mapper", "Connections"],
  ["pod", "Pods"],
  ["route", "Services and routes"],
  ["gateway", "Gateways"],
];

export function devices({ where, main, listen }) {
  const wish = {
    kind: where.params.get("kind") || "device",
    text: where.params.get("text") || "",
    standing: where.params.get("standing") || "",
    page: Number(where.params.get("page")) || 0,
  };
  const search = h("input", { type: "search", value: wish.text, placeholder: "Search: name, model, label, property", "aria-label": "Search twins", oninput: () => later({ text: search.value, page: 0 }) });
  const kind = h("select", { "aria-label": "Kind", onchange: () => change({ kind: kind.value, page: 0 }) }, KINDS.map(([name, words]) => h("option", { value: name, selected: name === wish.kind }, words)));
  const filters = [
    ["", "All"],
    ["pending", "Pending"],
    ["bad", "Trouble"],
  ].map(([name, words]) => [name, words, h("button", { type: "button", onclick: () => change({ standing: name, page: 0 }) }, words)]);
  const cards = h("ul", { class: "cards" });
  const empty = h("p", { class: "muted empty", hidden: true });
  const count = h("p", { class: "muted small", role: "status" });
  const back = h("button", { type: "button", onclick: () => change({ page: wish.page - 1 }) }, "Previous");
  const on = h("button", { type: "button", onclick: () => change({ page: wish.page + 1 }) }, "Next");
  const pager = h("nav", { class: "pager", "aria-label": "Pages", hidden: true }, back, h("span", { class: "muted" }), on);
  main.replaceChildren(
    h("div", { class: "headline" }, h("h1", {}, "Devices"), count),
    h("div", { class: "bar" }, search, kind, h("div", { class: "choice", role: "group", "aria-label": "Filter" }, filters.map(([, , one]) => one))),
    cards,
    empty,
    pager,
  );
  const rows = new Rows(cards, card);
  const twins = new Map();
  let names = [];
  let waiting = 0;

  function later(changes) {
    clearTimeout(waiting);
    waiting = setTimeout(() => change(changes), 200);
  }

  function change(changes) {
    Object.assign(wish, changes);
    history.replaceState(null, "", link("devices", { ...wish, kind: wish.kind === "device" ? "" : wish.kind, page: wish.page || "" }));
    marks();
    listen(wish);
  }

  function marks() {
    for (const [name, , one] of filters) attr(one, "aria-pressed", name === wish.standing);
  }

  function draw() {
    rows.show(names.filter((name) => twins.has(name)).map((name) => twins.get(name)), (twin) => twin.twin);
  }

  marks();
  return {
    title: "Devices",
    params: wish,
    listing(said) {
      names = said.names;
      for (const name of twins.keys()) if (!names.includes(name)) twins.delete(name);
      say(count, said.matching === said.total ? plural(said.total, "twin") : `${said.matching} of ${plural(said.total, "twin")}`);
      say(filters[1][2], `Pending ${said.pending}`);
      say(filters[2][2], `Trouble ${said.bad}`);
      empty.hidden = Boolean(names.length);
      say(empty, said.trouble || (wish.text || wish.standing ? "Nothing fits." : "There is nothing yet. Apply documents: edgetwin apply -f plant.yaml"));
      pager.hidden = said.pages < 2;
      wish.page = said.page;
      [back.disabled, on.disabled] = [said.page === 0, said.page >= said.pages - 1];
      say(pager.children[1], `${said.page + 1} of ${said.pages}`);
      draw();
    },
    twins(said) {
      for (const twin of said.twins) twins.set(twin.twin, twin);
      draw();
    },
    end: () => clearTimeout(waiting),
  };
}

export function badge() {
  const element = h("span", { class: "badge" });
  return {
    element,
    update(twin) {
      const [tone, words] = STANDING[standing(twin)];
      attr(element, "data-tone", tone);
      say(element, words);
    },
  };
}

// What is of most use first: what waits, what is wrong, what can be set, numbers, the rest.
export function order(twin) {
  const weight = (name) => {
    const leaf = (twin.reported || {})[name] || {};
    if (name in (twin.delta || {})) return 0;
    if (leaf.quality && leaf.quality !== "good") return 1;
    if (name in (twin.desired || {})) return 2;
    return typeof leaf.value === "number" ? 3 : typeof leaf.value === "boolean" ? 4 : 5;
  };
  const names = [...new Set([...Object.keys(twin.reported || {}), ...Object.keys(twin.desired || {})])];
  return names.map((name) => [weight(name), name]).sort((a, b) => a[0] - b[0] || a[1].localeCompare(b[1])).map((one) => one[1]);
}

function card(first) {
  const { namespace, name } = parts(first.twin);
  const state = badge();
  const seen = h("span", { class: "muted small" });
  const body = h("tbody");
  const more = h("p", { class: "muted small more" });
  const element = h(
    "li",
    { class: "card twin", "data-twin": first.twin },
    h("div", { class: "cardhead" }, h("h2", {}, h("a", { href: link(`twin/${first.twin}`) }, name)), state.element),
    h("p", { class: "muted small sub" }, h("span", {}, [namespace, first.model].filter(Boolean).join(" · ")), h("span", { class: "when" }, seen, " ago")),
    h("table", {}, h("caption", { class: "hidden" }, `Properties of ${name}`), h("thead", { class: "hidden" }, h("tr", {}, ["Property", "Course", "Value"].map((one) => h("th", { scope: "col" }, one)))), body),
    more,
  );
  const rows = new Rows(body, line);
  let shown = order(first).slice(0, SHOWN).sort();
  return {
    element,
    update(twin) {
      state.update(twin);
      const at = newest(twin);
      attr(seen, "data-at", at || null);
      say(seen, age(at));
      const names = order(twin);
      // The lines stay where they are while they are as good as others.
      const needed = names.filter((one) => one in (twin.delta || {}));
      if (needed.some((one) => !shown.includes(one)) || shown.length !== Math.min(SHOWN, names.length)) shown = names.slice(0, SHOWN).sort();
      rows.show(shown.map((one) => ({ name: one, twin })), (one) => one.name);
      say(more, names.length > SHOWN ? `and ${names.length - SHOWN} more` : "");
    },
  };
}

function line({ name }) {
  const shown = h("span", { class: "value" });
  const wanted = h("span", { class: "wanted" });
  const spark = new Spark();
  const element = h("tr", { "data-property": name }, h("th", { scope: "row" }, name), h("td", { class: "course" }, spark.element), h("td", { class: "number" }, shown, wanted));
  return {
    element,
    update({ twin }) {
      const leaf = (twin.reported || {})[name];
      const want = (twin.desired || {})[name];
      const unit = (leaf || want || {}).unit;
      say(shown, leaf ? value(leaf.value, unit) : "–");
      attr(element, "data-quality", leaf && leaf.quality && leaf.quality !== "good" ? leaf.quality : null);
      attr(element, "title", leaf && leaf.quality && leaf.quality !== "good" ? quality(leaf) : null);
      say(wanted, name in (twin.delta || {}) ? ` → ${value(twin.delta[name], unit)}` : "");
      if (leaf) spark.add(leaf.at, leaf.value);
    },
  };
}
