// The live page: what there is, on one page, as it is now.
import { h, put, say } from "./dom";
import { Grid } from "./grid";
import { Help } from "./help";
import { Large } from "./large";
import { watchLaptop } from "./laptop";
import { Link } from "./net";
import { theme } from "./theme";
import { World } from "./world";

const TICK = 250; // ms
const NAP = 60_000; // ms a page is hidden before it lets its connection go

const root = document.documentElement;
const socket = root.dataset["socket"] ?? "/";
const local = root.dataset["mode"] === "view"; // served by perch view, not by a broker

const link = new Link(`${location.protocol === "https:" ? "wss" : "ws"}://${location.host}${socket}`, async () => {
  if (!local) return false;
  const r = await fetch(`${socket}/session`).catch(() => null);
  return r?.status === 401;
});
const world = new World(link);
const grid = new Grid(world);
const help = new Help();

// The frame of the page.

const count = h("p", { class: "count" });
const banner = h("p", { class: "banner", role: "status" });
const news = h("p", { class: "unseen", role: "status" });
const empty = h("p", { class: "empty", hidden: true });
const all = h("section", { class: "all" }, h("h1", { class: "unseen" }, "Cameras"), grid.element, empty);
const main = h("main", { id: "main", tabindex: -1 }, all);
const gate = h("main", { class: "gate", hidden: true });
document.body.append(
  h("a", { class: "skip", href: "#main", click: (e: Event) => (e.preventDefault(), main.focus()) }, "Skip to the pictures"),
  h(
    "header",
    { class: "top" },
    h("a", { class: "mark", href: "#/" }, "Perch"),
    count,
    banner,
    h("span", { class: "tools" }, theme(), h("button", { type: "button", class: "plain", "aria-label": "Help", title: "Help (?)", click: () => help.toggle() }, "?")),
  ),
  main,
  gate,
  help.element,
  news,
);

// Who may look.

function form(): HTMLElement {
  const input = h("input", { id: "token", type: "password", autocomplete: "off", spellcheck: "false", required: true });
  return h(
    "form",
    {
      submit: (e: Event) => {
        e.preventDefault();
        link.token = input.value.trim();
        link.wake();
      },
    },
    h("label", { for: "token" }, "Token"),
    input,
    h("button", { type: "submit" }, "Look"),
    h("p", { class: "hint" }, "The broker’s owner makes one with “perch-broker add viewer NAME”. It is kept in this page’s memory only: after a reload it is asked for again."),
  );
}

link.state.follow((s) => {
  put(root, "data-link", s);
  const closed = s === "locked" || s === "refused";
  put(gate, "hidden", !closed);
  put(main, "hidden", closed);
  put(count, "hidden", closed);
  if (s === "locked") {
    gate.replaceChildren(h("h1", {}, "This page needs its link"), h("p", {}, "Open the address that “perch view” has printed: it can be used once, and lets this browser in."));
  } else if (s === "refused") {
    const asked = link.token !== "";
    gate.replaceChildren(h("h1", {}, asked ? "Not with this token" : "Who is looking?"), asked || local ? h("p", { class: "error", role: "alert" }, link.why) : "", local ? "" : form());
    link.token = "";
    gate.querySelector("input")?.focus();
  }
  say(banner, s === "down" ? "The connection is lost. Trying again." : s === "connecting" ? "Connecting" : "");
});

// perch view also tells what becomes of the laptop's own link, which is another one.
if (local) {
  watchLaptop(link, (up) => say(banner, up ? "" : "The laptop’s link to the broker is lost. Trying again."));
}

// What there is.

function counted() {
  const states = [...world.devices.all.values()].map((d) => d.value.state);
  const [online, away, left] = ["online", "away", "left"].map((state) => states.filter((s) => s === state).length) as [number, number, number];
  say(count, states.length === 0 ? "" : `${online} ${online === 1 ? "device" : "devices"}${away ? `, ${away} away` : ""}${left ? `, ${left} left` : ""}`);
  document.title = large ? `${large.element.dataset["device"]} – Perch` : online ? `Perch – ${online} online` : "Perch";
  put(empty, "hidden", states.length > 0 || !world.devices.listed.value);
  if (states.length === 0) say(empty, "No device is connected yet. One appears here as soon as it is.");
}
world.devices.said.follow((text) => say(news, text));

// One camera large, or all of them: the address says which.

let large: Large | undefined;
let last = ""; // the address of the camera that was large
const address = (device: string, camera: string) => `#/${[device, camera].filter(Boolean).map(encodeURIComponent).join("/")}`;

function route() {
  const [device = "", camera = ""] = location.hash.replace(/^#\/?/, "").split("/").map(unescaped);
  const d = world.devices.all.get(device);
  if (large && large.element.dataset["device"] === device && large.camera === camera) return;
  large?.end();
  large = undefined;
  if (d) {
    const order = grid.order.map((t) => t.link.getAttribute("href")!);
    const at = order.indexOf(address(device, camera));
    const near = { before: order.at(at - 1) ?? "#/", after: order[(at + 1) % order.length] ?? "#/" };
    large = new Large(world, d, camera || (d.value.cameras?.[0]?.name ?? ""), near, grid.tile(device, camera));
    last = address(device, camera);
    main.append(large.element);
  }
  put(all, "hidden", large !== undefined);
  put(root, "data-large", large !== undefined);
  if (large) {
    scrollTo(0, 0);
    large.heading.focus({ preventScroll: true });
  } else {
    grid.order.find((t) => t.link.getAttribute("href") === last)?.link.focus();
  }
  counted();
}

function unescaped(s: string): string {
  try {
    return decodeURIComponent(s);
  } catch {
    return "";
  }
}

addEventListener("hashchange", route);
world.devices.known.follow(() => {
  if (!large) route();
  counted();
});
world.devices.listed.follow(route);

// Keys.

addEventListener("keydown", (e) => {
  const at = e.target as HTMLElement;
  if (e.ctrlKey || e.altKey || e.metaKey || at.closest("input, select, textarea, dialog")) return;
  const go = (to: string | null | undefined) => {
    if (to) location.hash = to;
  };
  const arrow = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[e.key];
  if (e.key === "?") help.toggle();
  else if (e.key === "Escape" && large && !document.fullscreenElement) go("#/");
  else if (e.key === "s" && large) void large.save();
  else if (e.key === "f" && large) large.full();
  else if (arrow && large && arrow[0]) go(large.element.querySelector(`[rel="${arrow[0] < 0 ? "prev" : "next"}"]`)?.getAttribute("href"));
  else if (arrow && !large) grid.move(arrow[0]!, arrow[1]!);
  else return;
  e.preventDefault();
});

// Time: ages go on by themselves. A page that nobody sees asks for nothing, and after a while lets go of its connection: its
// timers are slowed down by the browser, so it could not keep it anyway.

setInterval(() => {
  if (!world.awake.value) return;
  if (large) large.tick();
  else grid.tick();
  counted();
}, TICK);

let nap: ReturnType<typeof setTimeout> | undefined;
document.addEventListener("visibilitychange", () => {
  const seen = document.visibilityState === "visible";
  clearTimeout(nap);
  world.awake.set(seen);
  if (seen) link.wake();
  else nap = setTimeout(() => link.state.value === "up" && link.sleep(), NAP);
});
addEventListener("online", () => link.wake());

// The secret of perch view is in the address, where no server sees it, and is exchanged once for a cookie.

async function enter() {
  const [, secret, device = ""] = /^#key=([A-Z2-7]+)(\/.*)?$/.exec(location.hash) ?? [];
  if (local && secret) {
    history.replaceState(null, "", device ? `#${device}` : location.pathname);
    await fetch(`${socket}/session`, { method: "POST", body: secret }).catch(() => null);
  }
  link.wake();
}
void enter();
