// What works for the twins: mappers with their connections, and pods with what they say.

import { text } from "./api.js";
import { h, say, attr, Rows } from "./dom.js";
import { now, number, parts, rate } from "./format.js";
import { childRow } from "./overview.js";
import { sentence } from "./app.js";

const STATES = { connected: "good", simulated: "good", connecting: "wait", lost: "bad", mapper_down: "bad", misconfigured: "bad" };
const head = (names) => h("thead", {}, h("tr", {}, names.map((one) => h("th", { scope: "col" }, one))));

export function mappers({ main }) {
  const links = h("tbody");
  const hosts = h("tbody");
  const disabled = h("p", { class: "muted" });
  main.replaceChildren(
    h("div", { class: "headline" }, h("h1", {}, "Mappers")),
    h("section", { class: "card scroll", tabindex: "0", "aria-labelledby": "links" }, h("h2", { id: "links" }, "Connections"), h("table", { class: "wide" }, head(["Connection", "State", "Devices", "Requests", "Latency", "Errors", "Last error"]), links)),
    h("section", { class: "card scroll", tabindex: "0", "aria-labelledby": "hosts" }, h("h2", { id: "hosts" }, "Processes"), h("table", { class: "wide" }, head(["Name", "State", "Restarts", "Last end", "Limits"]), hosts), disabled),
  );
  const before = new Map();

  // A mapper tells its counts only now and then: between two of these the rate stays as it was.
  function rateOf(one) {
    const last = before.get(one.name);
    if (!last || one.requests < last.requests) {
      before.set(one.name, { at: now(), requests: one.requests, rate: null });
      return null;
    }
    const since = (now() - last.at) / 1000;
    if (one.requests > last.requests && since > 0.5) {
      before.set(one.name, { at: now(), requests: one.requests, rate: (one.requests - last.requests) / since });
    } else if (since > 60) last.rate = 0;
    return before.get(one.name).rate;
  }

  const rows = new Rows(links, (first) => {
    const state = h("span", { class: "badge" });
    const cells = [h("td", {}, state), h("td"), h("td", { class: "number" }), h("td", { class: "number" }), h("td", { class: "number" }), h("td", { class: "long" })];
    return {
      element: h("tr", {}, h("th", { scope: "row" }, first.name, h("span", { class: "muted small block" }, first.mapper)), cells),
      update(one) {
        const perSecond = rateOf(one);
        attr(state, "data-tone", STATES[one.state] || "none");
        say(state, one.state.replaceAll("_", " ") || "not heard of yet");
        say(cells[1], one.devices_silent ? `${one.devices}, ${one.devices_silent} silent` : one.devices);
        say(cells[2], perSecond === null ? "–" : rate(perSecond));
        say(cells[3], one.latency_ms ? `${number(one.latency_ms)} ms` : "–");
        say(cells[4], one.errors);
        say(cells[5], one.last_error || "");
        attr(cells[5], "class", one.last_error ? "long" : "long muted");
      },
    };
  });
  const processes = new Rows(hosts, childRow);
  return {
    title: "Mappers",
    params: { quiet: 1 },
    status(said) {
      rows.show(said.connections || [], (one) => one.name);
      processes.show(said.children || [], (one) => one.name);
      say(disabled, (said.mappers_disabled || []).length ? `Disabled by their documents: ${said.mappers_disabled.join(", ")}.` : "");
    },
  };
}

// -- pods --------------------------------------------------------------------------------------------------------

const PHASES = { Running: "good", Succeeded: "good", Pending: "wait", Failed: "bad", Unknown: "warn" };
const said = (twin, name) => ((twin.reported || {})[name] || {}).value;

export function pods({ main, me }) {
  const body = h("tbody");
  const empty = h("p", { class: "muted", hidden: true }, "There are no pods here.");
  const log = h("section", { class: "card", hidden: true, "aria-label": "Log" });
  main.replaceChildren(
    h("div", { class: "headline" }, h("h1", {}, "Pods")),
    h("section", { class: "card scroll", tabindex: "0", role: "region", "aria-label": "Pods" }, h("table", { class: "wide" }, h("caption", { class: "hidden" }, "Pods"), head(["Pod", "Phase", "Containers", "Restarts", "Why", ""]), body), empty),
    log,
  );
  let reading = null;
  const rows = new Rows(body, (first) => {
    const { namespace, name } = parts(first.twin);
    const phase = h("span", { class: "badge" });
    const cells = [h("td", {}, phase), h("td"), h("td", { class: "number" }), h("td", { class: "long" }), h("td", { class: "actions" })];
    let known = "";
    return {
      element: h("tr", {}, h("th", { scope: "row" }, h("a", { href: `#/twin/${first.twin}` }, name), h("span", { class: "muted small block" }, namespace)), cells),
      update(twin) {
        const word = said(twin, "phase") || "Pending";
        const ready = said(twin, "ready");
        attr(phase, "data-tone", word === "Running" && ready === false ? "wait" : PHASES[word] || "none");
        say(phase, word === "Running" && ready === false ? "Running, not ready" : word);
        const containers = Object.keys(said(twin, "containers") || {});
        say(cells[1], containers.join(", "));
        say(cells[2], said(twin, "restarts") || 0);
        say(cells[3], [said(twin, "reason"), said(twin, "message")].filter(Boolean).join(": "));
        if (!me.fleet && known !== containers.join()) {
          known = containers.join();
          const open = (container) => h("button", { type: "button", onclick: () => show(twin.twin, container) }, containers.length > 1 ? `Log of ${container}` : "Log", h("span", { class: "hidden" }, ` of ${name}`));
          cells[4].replaceChildren(...containers.map(open));
        }
      },
    };
  });

  function show(twin, container) {
    if (reading) reading.end();
    reading = logOf(log, twin, container, () => (reading = null));
  }

  const twins = new Map();
  return {
    title: "Pods",
    params: { kind: "pod", size: 200 },
    listing(one) {
      empty.hidden = Boolean(one.total);
      for (const name of twins.keys()) if (!one.names.includes(name)) twins.delete(name);
      rows.show([...twins.values()], (twin) => twin.twin);
    },
    twins(one) {
      for (const twin of one.twins) twins.set(twin.twin, twin);
      empty.hidden = true;
      rows.show([...twins.keys()].sort().map((name) => twins.get(name)), (twin) => twin.twin);
    },
    end: () => reading && reading.end(),
  };
}

function logOf(place, twin, container, onEnd) {
  const lines = h("pre", { class: "log", tabindex: "0", role: "log", "aria-label": "Log" });
  const heading = h("h2", { tabindex: "-1" }, `${parts(twin).name} / ${container}`);
  let timer = 0;
  const end = () => {
    clearTimeout(timer);
    place.hidden = true;
    onEnd();
  };
  place.replaceChildren(h("div", { class: "headline" }, heading, h("button", { type: "button", class: "quiet", onclick: end }, "Close")), lines);
  place.hidden = false;
  heading.focus();
  async function read() {
    try {
      const words = await text("/page/log", { twin, container, lines: 300 });
      const below = lines.scrollHeight - lines.scrollTop - lines.clientHeight < 30;
      say(lines, words || "It has said nothing yet.");
      if (below) lines.scrollTop = lines.scrollHeight;
    } catch (error) {
      say(lines, sentence(error.message));
    }
    timer = setTimeout(read, 2000);
  }
  read();
  return { end };
}

