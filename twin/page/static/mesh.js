// Services and routes: who calls whom, how much goes through, what stands behind, and which breaker is open.

import { h, s, say, attr, Rows } from "./dom.js";
import { number, rate } from "./format.js";

const said = (twin, name) => ((twin.reported || {})[name] || {}).value;
const HEALTH = { ready: "good", "not-ready": "wait", terminating: "wait", stale: "warn", ejected: "bad", failing: "bad" };
const BREAKER = { open: "bad", "half-open": "wait", closed: "good" };

export function mesh({ main, me }) {
  const graph = h("div", { class: "graphbox scroll", tabindex: "0", role: "region", "aria-label": "Graph of the mesh" });
  const body = h("tbody");
  const state = h("p", { class: "muted" });
  const empty = h("p", { class: "muted", hidden: true }, "There are no services here.");
  main.replaceChildren(
    h("div", { class: "headline" }, h("h1", {}, "Mesh"), state),
    h("section", { class: "card", "aria-labelledby": "graph" }, h("h2", { id: "graph" }, "Who calls whom"), graph),
    h(
      "section",
      { class: "card scroll", tabindex: "0", "aria-labelledby": "services" },
      h("h2", { id: "services" }, "Services and routes"),
      h("table", { class: "wide" }, h("thead", {}, h("tr", {}, ["Name", "Address", "Endpoints", "Requests", "Errors", "p99", "Breaker", "Notes"].map((one) => h("th", { scope: "col" }, one)))), body),
      empty,
    ),
  );
  const rows = new Rows(body, row);
  const twins = new Map();
  let calls = [];
  let shape = "";

  function draw() {
    const all = [...twins.keys()].sort().map((name) => twins.get(name));
    rows.show(all, (twin) => twin.twin);
    const model = graphOf(all, calls);
    const now = JSON.stringify(model);
    if (now === shape) return;
    shape = now;
    graph.replaceChildren(model.edges.length || model.nodes.length ? picture(model) : h("p", { class: "muted" }, "Nobody has called a service lately."));
  }

  return {
    title: "Mesh",
    params: { kind: "route", parts: "mesh", size: 200 },
    listing(one) {
      empty.hidden = Boolean(one.total);
      for (const name of twins.keys()) if (!one.names.includes(name)) twins.delete(name);
      draw();
    },
    twins(one) {
      for (const twin of one.twins) twins.set(twin.twin, twin);
      draw();
    },
    mesh(one) {
      if (one.trouble) return say(state, one.trouble);
      calls = one.calls || [];
      say(state, me.fleet ? "" : [one.state, one.network, one.dns && `DNS ${one.dns}`, one.tunnel && `tunnel ${one.tunnel}`, ...(one.problems || [])].filter(Boolean).join(" · "));
      draw();
    },
  };
}

function row(first) {
  const breaker = h("span", { class: "badge" });
  const cells = [h("td"), h("td"), h("td", { class: "number" }), h("td", { class: "number" }), h("td", { class: "number" }), h("td", {}, breaker), h("td", { class: "long" })];
  const kind = said(first, "kind") || "";
  return {
    element: h("tr", {}, h("th", { scope: "row" }, h("a", { href: `#/twin/${first.twin}` }, said(first, "name") || first.twin), h("span", { class: "muted small block" }, kind)), cells),
    update(twin) {
      const ends = said(twin, "endpoints") || [];
      const rates = said(twin, "rates") || {};
      const ports = (said(twin, "ports") || []).map((port) => port.port).join(", ");
      say(cells[0], [said(twin, "address"), ports].filter(Boolean).join(" : "));
      const ready = ends.filter((one) => (one.health || "ready") === "ready").length;
      say(cells[1], ends.length ? `${ready} of ${ends.length} ready` : "–");
      say(cells[2], rates.requests_s ? rate(rates.requests_s) : "–");
      say(cells[3], rates.error_percent ? `${number(rates.error_percent)} %` : "–");
      say(cells[4], rates.p99_ms ? `${number(rates.p99_ms)} ms` : "–");
      const now = said(twin, "breaker") || "";
      breaker.hidden = !now;
      attr(breaker, "data-tone", BREAKER[now] || "none");
      say(breaker, now);
      const wrong = Object.entries(said(twin, "conditions") || {}).filter(([, one]) => one && one.holds === false).map(([name, one]) => `${name}: ${one.message || one.reason || "no"}`);
      say(cells[6], [...wrong, ...(said(twin, "alerts") || [])].join("; "));
    },
  };
}

// -- the graph: callers, services, endpoints, from left to right ---------------------------------------------------

function graphOf(twins, calls) {
  const nodes = new Map();
  const edges = [];
  const node = (id, column, words, tone = "none", note = "") => {
    if (!nodes.has(id)) nodes.set(id, { id, column, words, tone, note });
    return nodes.get(id);
  };
  for (const twin of twins) {
    if (said(twin, "kind") !== "Service") continue;
    const name = said(twin, "name");
    const breaker = said(twin, "breaker");
    const rates = said(twin, "rates") || {};
    node(`s:${name}`, 1, name, BREAKER[breaker] || "none", [breaker && `breaker ${breaker}`, rates.requests_s ? rate(rates.requests_s) : ""].filter(Boolean).join(", "));
    for (const end of said(twin, "endpoints") || []) {
      node(`e:${end.place}`, 2, end.place, HEALTH[end.health || "ready"] || "none", [end.node, end.health && end.health !== "ready" ? end.health : ""].filter(Boolean).join(", "));
      edges.push({ from: `s:${name}`, to: `e:${end.place}`, words: end.weight > 1 ? `×${end.weight}` : "", weight: 0 });
    }
  }
  for (const call of calls) {
    const service = node(`s:${call.service}`, 1, call.service);
    const caller = nodes.has(`s:${call.caller}`) ? nodes.get(`s:${call.caller}`) : node(`c:${call.caller}`, 0, call.caller);
    edges.push({ from: caller.id, to: service.id, words: `${rate(call.requests_s)}${call.loss_percent ? `, ${number(call.loss_percent)} % lost` : ""}`, weight: call.requests_s });
  }
  return { nodes: [...nodes.values()], edges };
}

function picture({ nodes, edges }) {
  const columns = [0, 1, 2].map((column) => nodes.filter((one) => one.column === column)).filter((column, n) => column.length || n === 1);
  const tall = Math.max(1, ...columns.map((one) => one.length)) * 56 + 20;
  const [width, wide] = [880, 210];
  const at = new Map();
  const apart = (width - wide - 20) / 2;
  columns.forEach((column, n0) => {
    const gap = tall / (column.length || 1);
    column.forEach((one, n) => at.set(one.id, { x: 10 + n0 * apart, y: gap * (n + 0.5) }));
  });
  const most = Math.max(1, ...edges.map((one) => one.weight));
  const lines = edges.map((edge) => {
    const [a, b] = [at.get(edge.from), at.get(edge.to)];
    const loop = a.x >= b.x;
    const [x1, x2] = [a.x + wide, loop ? b.x + wide : b.x];
    const bend = loop ? 60 : (x2 - x1) / 2;
    const d = `M${x1},${a.y}C${x1 + bend},${a.y} ${loop ? x2 + bend : x2 - bend},${b.y} ${x2},${b.y}`;
    const label = edge.words && s("text", { class: "edgetext", x: (x1 + x2) / 2 + (loop ? 45 : 0), y: (a.y + b.y) / 2 - 5, "text-anchor": "middle" }, edge.words);
    return [s("path", { class: edge.weight ? "edge busy" : "edge", d, "stroke-width": 1.2 + (3 * edge.weight) / most }), label];
  });
  const boxes = nodes.map((one) => {
    const { x, y } = at.get(one.id);
    const short = one.words.length > 25 ? `${one.words.slice(0, 24)}…` : one.words;
    return s("g", { class: "node", "data-tone": one.tone }, s("title", {}, [one.words, one.note].filter(Boolean).join(": ")), s("rect", { x, y: y - 20, width: wide, height: 40, rx: 8 }), s("circle", { cx: x + 16, cy: y, r: 4 }), s("text", { x: x + 30, y: one.note ? y - 1 : y + 5 }, short), one.note && s("text", { class: "notetext", x: x + 30, y: y + 13 }, one.note));
  });
  const words = `${nodes.length} nodes, ${edges.length} lines between them; the table below says the same in words`;
  return s("svg", { class: "graph", viewBox: `0 0 ${width} ${tall}`, role: "img", "aria-label": words }, lines.flat().filter(Boolean), boxes);
}
