// How the gateway is at one look; and, in a cloud, the fleet.

import { h, say, attr, Rows } from "./dom.js";
import { age, bytes, clock, duration, now, plural, rate } from "./format.js";
import { link, sentence, syncWords } from "./app.js";

export function tile(words, href) {
  const big = h("span", { class: "big" });
  const small = h("span", { class: "muted small" });
  const element = h(href ? "a" : "div", { class: "card tile", href }, h("span", { class: "muted" }, words), big, small);
  return {
    element,
    show(number, rest = "", tone = null) {
      say(big, number);
      say(small, rest);
      attr(element, "data-tone", tone);
    },
  };
}

export const facts = (pairs) => h("dl", { class: "list" }, pairs.filter(([, words]) => words !== "" && words !== undefined && words !== null).map(([term, words]) => h("div", {}, h("dt", {}, term), h("dd", {}, words))));

export function overview({ main, me }) {
  const devices = tile("Devices", link("devices"));
  const cloud = tile("Cloud");
  const unsent = tile("Unsent");
  const flow = tile("Values");
  const alarms = h("ul", { class: "plain alarms" });
  const quiet = h("p", { class: "muted" }, "Nothing is wrong.");
  const sync = h("div");
  const gateway = h("div");
  const children = h("tbody");
  main.replaceChildren(
    h("div", { class: "headline" }, h("h1", {}, me.place)),
    h("div", { class: "tiles" }, devices.element, cloud.element, unsent.element, flow.element),
    h("section", { class: "card", "aria-labelledby": "alarms" }, h("h2", { id: "alarms" }, "Alarms"), quiet, alarms),
    h(
      "div",
      { class: "pair" },
      h("section", { class: "card", "aria-labelledby": "sync" }, h("h2", { id: "sync" }, "Sync with the cloud"), sync),
      h("section", { class: "card", "aria-labelledby": "health" }, h("h2", { id: "health" }, "Gateway"), gateway),
    ),
    h(
      "section",
      { class: "card scroll", tabindex: "0", "aria-labelledby": "children" },
      h("h2", { id: "children" }, "Processes"),
      h("table", { class: "wide" }, h("thead", {}, h("tr", {}, ["Name", "State", "Restarts", "Last end", "Limits"].map((one) => h("th", { scope: "col" }, one)))), children),
    ),
  );
  const lines = new Rows(alarms, (text) => ({ element: h("li", { "data-tone": "bad" }, sentence(text)), update() {} }));
  const processes = new Rows(children, childRow);
  let before = null;
  let machine = {};
  return {
    title: "Overview",
    params: { kind: "gateway" },
    twins(said) {
      machine = (said.twins[0] || {}).reported || machine;
    },
    status(said) {
      if (said.trouble) return lines.show([said.trouble], (one) => one);
      const bad = (said.devices_bad || []).length;
      devices.show(String(said.devices), bad ? `${plural(bad, "device")} in trouble` : said.devices ? "all good" : "none yet", bad ? "bad" : null);
      const one = said.sync || { state: "off" };
      const [tone, words] = syncWords(one);
      cloud.show(one.state === "off" ? "none" : words.split(/ since|,/)[0], one.state === "off" ? "not joined" : `since ${clock(one.since)}`, tone === "none" ? null : tone);
      unsent.show(String(one.unsent || 0), one.unsent ? `the oldest ${duration(one.oldest_unsent_s * 1000)} old` : "the cloud has it all", one.unsent && one.state !== "live" ? "warn" : null);
      if (one.state === "off") unsent.show("–", "no cloud to send to");
      const since = before && (now() - before.at) / 1000;
      flow.show(since > 0.5 ? rate((said.updates - before.updates) / since) : "–", plural(said.updates, "value") + " since the start");
      before = { at: now(), updates: said.updates };
      const wrong = [...said.alarms, ...(said.firing || [])];
      quiet.hidden = Boolean(wrong.length);
      lines.show(wrong, (text) => text);
      sync.replaceChildren(syncFacts(one));
      gateway.replaceChildren(
        facts([
          ["Version", said.version],
          ["Up", age(said.started_at)],
          ["Broker", said.broker],
          ["Twins", String(said.twins)],
          ["Reports", `${said.reports}, ${said.refused} refused`],
          ["Simulated", (said.devices_simulated || []).join(", ")],
          ["Machine", machine.cpu ? `${plural(machine.cpu.value, "core")}, ${bytes(machine.memory.value)}, ${machine.arch.value}` : ""],
          ["State folder", said.state_folder],
        ]),
      );
      processes.show(said.children, (child) => child.name);
    },
  };
}

function syncFacts(one) {
  if (one.state === "off") return h("p", { class: "muted" }, "This gateway has joined no cloud, and needs none. ", h("code", {}, "edgetwin join TOKEN"), " joins one.");
  const refused = Object.entries(one.refused_documents || {});
  return h(
    "div",
    {},
    facts([
      ["State", `${one.state} since ${clock(one.since)}`],
      ["Cloud", one.cloud],
      ["Why", one.why],
      ["Unsent", plural(one.unsent, "leaf", "leaves")],
      ["Oldest unsent", one.unsent ? `${duration(one.oldest_unsent_s * 1000)} old` : ""],
      ["Lag", duration(one.lag_s * 1000)],
      ["Last resync", one.last_resync ? `${clock(one.last_resync)}, took ${duration(one.last_resync_s * 1000)}` : "not yet"],
    ]),
    refused.map(([name, why]) => h("p", { class: "problem" }, `${name}: ${why}`)),
  );
}

export function childRow(first) {
  const state = h("span", { class: "badge" });
  const cells = [h("td", {}, state), h("td"), h("td"), h("td", { class: "muted" })];
  return {
    element: h("tr", {}, h("th", { scope: "row" }, first.name), cells),
    update(child) {
      attr(state, "data-tone", child.problem ? "warn" : child.running ? "good" : "bad");
      say(state, child.problem || (child.running ? `runs, ${child.pid}` : "does not run"));
      say(cells[1], child.restarts || 0);
      say(cells[2], child.last_end ? `${clock(child.last_end_at)}: ${child.last_end}` : "");
      say(cells[3], child.limits || "");
    },
  };
}

export function fleet({ main }) {
  const body = h("tbody");
  const online = tile("Online");
  const away = tile("Away");
  const owed = tile("Waiting for gateways");
  const problem = h("p", { class: "problem", role: "alert" });
  main.replaceChildren(
    h("div", { class: "headline" }, h("h1", {}, "Fleet")),
    h("div", { class: "tiles" }, online.element, away.element, owed.element),
    problem,
    h(
      "section",
      { class: "card scroll", tabindex: "0", "aria-labelledby": "gateways" },
      h("h2", { id: "gateways" }, "Gateways"),
      h("table", { class: "wide" }, h("thead", {}, h("tr", {}, ["Gateway", "State", "Last heard", "Not acknowledged yet", "Commands"].map((one) => h("th", { scope: "col" }, one)))), body),
    ),
  );
  const rows = new Rows(body, (first) => {
    const state = h("span", { class: "badge" });
    const when = h("span");
    const cells = [h("td", {}, state), h("td", {}, when), h("td"), h("td")];
    return {
      element: h("tr", {}, h("th", { scope: "row" }, h("a", { href: link("devices", { gateway: first.gateway }) }, first.gateway)), cells),
      update(one) {
        attr(state, "data-tone", one.online ? "good" : "warn");
        say(state, one.mending ? "Mending" : one.online ? "Online" : "Away");
        attr(when, "data-at", one.heard_at || null);
        say(when, one.heard_at ? age(one.heard_at) : "never");
        say(cells[2], one.unacked ? "yes" : "");
        say(cells[3], one.commands || "");
      },
    };
  });
  return {
    title: "Fleet",
    params: { quiet: 1 },
    status(said) {
      say(problem, said.trouble ? sentence(said.trouble) : said.after ? "These are the first of more." : "");
      const all = said.gateways || [];
      online.show(String(all.filter((one) => one.online).length), `of ${plural(all.length, "gateway")}`);
      const gone = all.filter((one) => !one.online).length;
      away.show(String(gone), gone ? "they go on by themselves" : "none", gone ? "warn" : null);
      owed.show(String(all.filter((one) => one.unacked).length), "gateways that have not taken all yet");
      rows.show(all, (one) => one.gateway);
    },
  };
}
