// The frame of the page: who is logged in, which view is shown, and what the gateway says of itself.

import { Stream, get, post, useToken } from "./api.js";
import { h, say, attr } from "./dom.js";
import { age, clock, plural, setNow } from "./format.js";
import { fleet, overview } from "./overview.js";
import { devices } from "./devices.js";
import { twin } from "./twin.js";
import { mappers, pods } from "./machinery.js";
import { mesh } from "./mesh.js";
import { alarms } from "./alarms.js";

const root = document.getElementById("app");
let me = null;
let shell = null;
let view = null;
let stream = null;

const VIEWS = { overview, devices, twin, mappers, pods, mesh, alarms, fleet };
const PLACES = [
  ["overview", "Overview"],
  ["devices", "Devices"],
  ["mappers", "Mappers"],
  ["pods", "Pods"],
  ["mesh", "Mesh"],
  ["alarms", "Alarms"],
];
const FLEET_PLACES = [
  ["fleet", "Fleet"],
  ["devices", "Devices"],
  ["pods", "Pods"],
  ["mesh", "Mesh"],
  ["alarms", "Alarms"],
];

// -- where we are: #/devices?text=tank ---------------------------------------------------------------------------

export function here() {
  const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
  const [name, ...rest] = path.split("/");
  const first = me && me.fleet ? "fleet" : "overview";
  const known = VIEWS[name] && (me && me.fleet ? !["overview", "mappers"].includes(name) : name !== "fleet");
  return { name: known ? name : first, rest: rest.map(decodeURIComponent), params: new URLSearchParams(query) };
}

export function link(name, params = {}) {
  const given = Object.entries(params).filter(([, value]) => value !== "" && value !== undefined && value !== null);
  const gateway = here().params.get("gateway");
  if (gateway && !("gateway" in params) && name !== "fleet") given.push(["gateway", gateway]);
  const query = new URLSearchParams(given).toString();
  return `#/${name}${query ? `?${query}` : ""}`;
}

// -- the theme: as the system has it, until somebody chooses -----------------------------------------------------

const THEMES = { auto: "Theme: as the system", light: "Theme: light", dark: "Theme: dark" };
function theme(next) {
  let chosen = "auto";
  try {
    if (next) localStorage.setItem("theme", next);
    chosen = localStorage.getItem("theme") || "auto";
  } catch {
    chosen = next || "auto"; // a browser that keeps nothing
  }
  attr(document.documentElement, "data-theme", chosen === "auto" ? null : chosen);
  return chosen in THEMES ? chosen : "auto";
}

// -- logging in --------------------------------------------------------------------------------------------------

function login() {
  closeView();
  me = shell = null;
  document.title = "Log in · edgetwin";
  const problem = h("p", { class: "problem", role: "alert" });
  const name = h("input", { id: "name", name: "username", autocomplete: "username", value: "admin", required: true });
  const secret = h("input", { id: "secret", name: "password", type: "password", autocomplete: "current-password", required: true });
  const button = h("button", { class: "primary" }, "Log in");
  const form = h(
    "form",
    {
      class: "card login",
      onsubmit: async (event) => {
        event.preventDefault();
        button.disabled = true;
        say(problem, "");
        try {
          start(await post("/page/login", { name: name.value, secret: secret.value }));
        } catch (error) {
          say(problem, `${sentence(error.message)} ${error.remedy}`);
          secret.select();
        }
        button.disabled = false;
      },
    },
    h("img", { src: "/icon.svg", alt: "", width: 48, height: 48 }),
    h("h1", {}, "edgetwin"),
    h("label", { for: "name" }, "User"),
    name,
    h("label", { for: "secret" }, "Password"),
    secret,
    button,
    problem,
    h("p", { class: "muted small" }, "On a gateway ", h("code", {}, "edgetwin web show"), " tells the first password. In a cloud it is the API token of your credentials file, and the user does not matter."),
  );
  root.replaceChildren(h("main", { id: "main", class: "center" }, form));
  secret.focus();
}

// An error of the gateway's as a sentence; one that begins with the name of a twin keeps that as it is.
export function sentence(text) {
  if (!text) return "";
  const begin = /^[a-z]+[\s,]/.test(text) ? text[0].toUpperCase() : text[0];
  return begin + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
}

// -- the frame ---------------------------------------------------------------------------------------------------

function frame() {
  const sync = h("a", { class: "pill", href: "#/overview" });
  const alarms = h("a", { class: "pill", href: "#/alarms", hidden: true });
  const lost = h("p", { class: "lost", role: "status", hidden: true }, "The page has lost its connection. What it shows may be old; it goes on by itself.");
  const main = h("main", { id: "main", tabindex: "-1" });
  const look = h("button", { class: "quiet", title: THEMES[theme()], "aria-label": THEMES[theme()] }, "◐");
  look.addEventListener("click", () => {
    const order = Object.keys(THEMES);
    const chosen = theme(order[(order.indexOf(theme()) + 1) % order.length]);
    attr(look, "title", THEMES[chosen]);
    attr(look, "aria-label", THEMES[chosen]);
  });
  const links = (me.fleet ? FLEET_PLACES : PLACES).map(([name, words]) => [name, h("a", { class: "place", href: link(name) }, words)]);
  const chosen = h("span", { class: "muted" });
  const toast = h("div", { class: "toast", role: "status", "aria-live": "polite" });
  root.replaceChildren(
    h(
      "header",
      { class: "top" },
      h("a", { class: "brand", href: "#/" }, h("img", { src: "/icon.svg", alt: "", width: 26, height: 26 }), h("span", {}, me.place), chosen),
      h("nav", { class: "places", "aria-label": "Views" }, links.map(([, one]) => one)),
      h("div", { class: "right" }, alarms, sync, look, h("button", { class: "quiet", onclick: logout }, "Log out")),
    ),
    lost,
    main,
    toast,
  );
  return { main, sync, alarms, lost, links, toast, chosen };
}

async function logout() {
  try {
    await post("/page/logout");
  } finally {
    login();
  }
}

let fading = 0;
export function tell(text) {
  if (!shell) return;
  say(shell.toast, text);
  shell.toast.classList.add("shown");
  clearTimeout(fading);
  fading = setTimeout(() => shell && shell.toast.classList.remove("shown"), 5000);
}

export function syncWords(sync) {
  if (!sync || sync.state === "off") return ["none", "No cloud"];
  if (sync.state === "live") return ["good", sync.unsent ? `Live, ${sync.unsent} unsent` : "Live"];
  const word = { offline: "Offline", connecting: "Connecting", resync: "Resync" }[sync.state] || sync.state;
  return [sync.state === "resync" ? "wait" : "warn", `${word} since ${clock(sync.since)}, ${sync.unsent || 0} unsent`];
}

function aboutPlace(status) {
  if (me.fleet || status.trouble) return;
  const [tone, words] = syncWords(status.sync);
  say(shell.sync, words);
  attr(shell.sync, "data-tone", tone);
  const count = (status.alarms || []).length + (status.firing || []).length;
  attr(shell.alarms, "href", (status.firing || []).length ? "#/alarms" : "#/overview");
  shell.alarms.hidden = !count;
  attr(shell.alarms, "data-tone", "bad");
  say(shell.alarms, plural(count, "alarm"));
}

// -- views -------------------------------------------------------------------------------------------------------

function closeView() {
  if (stream) stream.close();
  if (view && view.end) view.end();
  stream = view = null;
}

function show() {
  if (!me) return;
  closeView();
  const where = here();
  const gateway = where.params.get("gateway") || "";
  say(shell.chosen, gateway && `/ ${gateway}`);
  for (const [name, one] of shell.links) {
    one.hidden = me.fleet && !["fleet", "alarms"].includes(name) && !gateway; // twins are those of a gateway that was chosen
    attr(one, "aria-current", name === where.name || (name === "devices" && where.name === "twin") ? "page" : null);
    attr(one, "href", link(name));
  }
  if (me.fleet) shell.sync.hidden = true;
  view = VIEWS[where.name]({ me, where, main: shell.main, listen });
  document.title = `${view.title} · ${me.place}`;
  listen(view.params);
  window.scrollTo(0, 0);
}

// A view may ask for another stream without being built anew.
function listen(params) {
  if (stream) stream.close();
  const gateway = here().params.get("gateway") || "";
  stream = new Stream({ ...params, gateway }, hear, (connected) => shell && (shell.lost.hidden = connected));
}

function hear(name, said) {
  if (!view || said === null) return;
  if (name === "twins") setNow(said.now);
  if (name === "status") aboutPlace(said);
  if (view[name]) view[name](said);
}

function start(visitor) {
  me = visitor;
  useToken(me.csrf);
  shell = frame();
  show();
}

window.addEventListener("hashchange", () => {
  const before = view && view.stays && view.stays(here());
  if (before) return;
  show();
  if (shell) shell.main.focus({ preventScroll: true });
});
window.addEventListener("logout", login);
window.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.ctrlKey || event.metaKey || /input|textarea|select/i.test(event.target.tagName)) return;
  const search = document.querySelector("input[type=search]");
  if (search) {
    event.preventDefault();
    search.focus();
  }
});
setInterval(() => {
  for (const one of document.querySelectorAll("[data-at]")) say(one, age(Number(one.dataset.at)));
}, 1000);

theme();
try {
  start(await get("/page/me"));
} catch (error) {
  if (error.status !== 401) {
    root.replaceChildren(h("main", { id: "main", class: "center" }, h("p", { class: "problem" }, sentence(error.message))));
    setTimeout(() => location.reload(), 5000);
  } else if (!document.querySelector(".login")) login();
}
