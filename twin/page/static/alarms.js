// Alarms: what fires first, who has seen it, and a way to say that one has.

import { post } from "./api.js";
import { h, say, attr, Rows } from "./dom.js";
import { age, clock } from "./format.js";
import { sentence, tell } from "./app.js";

const ORDER = ["firing", "acknowledged", "pending", "resolved"];
const SEVERE = { critical: 0, warning: 1, info: 2 };
const TONES = { firing: "bad", acknowledged: "warn", pending: "wait", resolved: "good" };

const said = (twin, name) => (twin.reported && twin.reported[name] ? twin.reported[name].value : undefined);

export function alarms({ main, me, where }) {
  const body = h("tbody");
  const quiet = h("p", { class: "muted", hidden: true }, "Nothing fires, and nothing did.");
  const trouble = h("p", { class: "problem", role: "alert" });
  main.replaceChildren(
    h("div", { class: "headline" }, h("h1", {}, "Alarms")),
    trouble,
    quiet,
    h(
      "section",
      { class: "card scroll", tabindex: "0", "aria-label": "Alarms" },
      h("table", { class: "wide" }, h("thead", {}, h("tr", {}, ["Alarm", "State", "Severity", "Since", "What", "Seen"].map((one) => h("th", { scope: "col" }, one)))), body),
    ),
  );
  const fleet = me.fleet && !where.params.get("gateway");
  const rows = new Rows(body, (first) => row(first, me, fleet));
  const twins = new Map();

  function draw() {
    const rank = (twin) => [ORDER.indexOf(said(twin, "state")), SEVERE[said(twin, "severity")], -said(twin, "since")];
    const known = [...twins.values()].filter((twin) => said(twin, "state") && said(twin, "since") !== undefined);
    known.sort((one, other) => {
      const [a, b] = [rank(one), rank(other)];
      const at = a.findIndex((value, n) => value !== b[n]);
      return at < 0 ? (one.twin < other.twin ? -1 : 1) : a[at] - b[at];
    });
    rows.show(known, (twin) => twin.twin);
  }

  return {
    title: "Alarms",
    params: { kind: "alarm", size: 200 },
    listing(one) {
      say(trouble, one.trouble ? sentence(one.trouble) : one.pages > 1 ? `These are the first of ${one.total}.` : "");
      quiet.hidden = Boolean(one.total);
      for (const name of twins.keys()) if (!one.names.includes(name)) twins.delete(name);
      draw();
    },
    twins(one) {
      for (const twin of one.twins) twins.set(twin.twin, twin);
      draw();
    },
  };
}

function row(first, me, fleet) {
  const state = h("span", { class: "badge" });
  const when = h("span");
  const message = h("span");
  const seen = h("td");
  const problem = h("p", { class: "problem", role: "alert" });
  const severity = h("td");
  let now = first;
  let firing = 0;
  const note = h("input", { "aria-label": "Note", placeholder: "Note", maxlength: 500, autocomplete: "off" });
  const button = h("button", { class: "primary" }, "Acknowledge");
  const form = h(
    "form",
    {
      class: "bar tight",
      onsubmit: async (event) => {
        event.preventDefault();
        button.disabled = true;
        say(problem, "");
        try {
          await post("/page/set", { twin: first.twin, desired: { acknowledged: said(now, "since"), note: note.value } });
          tell("The alarm is acknowledged.");
        } catch (error) {
          say(problem, `${sentence(error.message)} ${error.remedy}`);
        }
        button.disabled = false;
      },
    },
    note,
    button,
  );
  const words = h("span", { class: "muted" });
  seen.append(form, words, problem);
  const name = first.twin.split("/").slice(1).join("/");
  return {
    element: h("tr", { "data-alarm": first.twin }, h("th", { scope: "row" }, h("a", { href: `#/twin/${first.twin}` }, name), h("span", { class: "muted small block" }, fleet ? first.gateway : "")), h("td", {}, state), severity, h("td", {}, when), h("td", { class: "long" }, message), seen),
    update(twin) {
      now = twin;
      const how = said(twin, "state");
      attr(state, "data-tone", TONES[how] || "none");
      say(state, how);
      say(severity, said(twin, "severity"));
      attr(when, "data-at", said(twin, "since"));
      attr(when, "title", clock(said(twin, "since")));
      say(when, age(said(twin, "since")));
      say(message, `${said(twin, "subject")}: ${said(twin, "message")}`);
      if (firing !== said(twin, "since")) note.value = "";
      firing = said(twin, "since");
      form.hidden = how !== "firing" || !me.may_write;
      const noted = said(twin, "note");
      const mine = said(twin, "acknowledged") === firing;
      say(words, mine ? `${said(twin, "acknowledged_by")}${noted ? `: ${noted}` : ""}` : "");
    },
  };
}
