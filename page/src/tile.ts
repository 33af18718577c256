// One camera in the grid, or a device that has none. It costs nothing while it cannot be seen.
import { h, put, say, type Signal } from "./dom";
import { Feed } from "./feed";
import type { World } from "./world";
import { age, measure, moment } from "./text";
import type { Device } from "./types";

const FPS = 5; // of a picture in the grid
const SIZES = [640, 1280]; // its widths: few, so that those who look share what a device sends

export class Tile {
  readonly element: HTMLLIElement;
  readonly link: HTMLAnchorElement;
  readonly feed: Feed | undefined;
  #note = h("span", { class: "note" });
  #age = h("span", { class: "age" });
  #values = h("ul", { class: "values" });
  #canvas = h("canvas", { "aria-hidden": "true", width: 16, height: 9 });
  #forget: (() => void)[] = [];
  #seen = false;

  constructor(
    private readonly world: World,
    private readonly device: Signal<Device>,
    readonly camera: string,
    alone: boolean,
  ) {
    const name = device.value.name;
    this.link = h(
      "a",
      { class: "shot", href: `#/${[name, camera].filter(Boolean).map(encodeURIComponent).join("/")}` },
      h("span", { class: "frame" }, this.#canvas, this.#note),
      h("span", { class: "caption" }, h("span", { class: "name" }, name), camera && !alone ? h("span", { class: "camera" }, camera) : null, this.#age),
    );
    this.element = h("li", { class: "tile", "data-device": name, "data-camera": camera }, this.link, this.#values);
    if (camera) {
      this.feed = new Feed(world.link, name, this.#canvas, world.clock(name), () => this.feed?.mark(this.element));
    }
    this.#forget.push(
      device.follow((d) => {
        put(this.element, "data-state", d.state);
        if (d.state === "online") {
          this.feed?.kick();
          world.sensors(name).kick();
        }
        this.#want();
        this.tick();
      }),
      world.awake.follow(() => this.#want()),
      world.sensors(name).changed.follow(() => this.#sensors()),
    );
  }

  see(on: boolean) {
    this.#seen = on;
    if (on && this.feed) {
      const wide = this.element.clientWidth * Math.min(devicePixelRatio, 1.5);
      const [small, wider] = SIZES;
      this.feed.options = { camera: this.camera, fps: FPS, width: wide > small! * 1.25 ? wider! : small! };
    }
    this.#want();
  }

  #want() {
    const on = this.#seen && this.world.awake.value && this.device.value.state !== "left";
    this.feed?.want(on);
    this.world.sensors(this.device.value.name).want(this, on && (this.device.value.sensors?.length ?? 0) > 0);
  }

  // tick brings up to date what changes with time alone.
  tick() {
    const d = this.device.value;
    put(this.element, "data-late", this.#seen && d.state === "online" && (this.feed?.late ?? false));
    if (d.state !== "online") say(this.#age, d.state === "away" ? `away since ${moment(d.since)}` : `left at ${moment(d.since)}`);
    else say(this.#age, age(this.feed?.age));
    put(this.#age, "title", d.state === "online" ? "age of the picture" : (d.reason ?? null));
    const error = d.state === "online" ? (this.feed?.error ?? "") : "";
    say(this.#note, error || (this.camera ? (this.feed?.header ? "" : d.state === "online" ? "waiting for a picture" : "") : "no camera"));
  }

  #sensors() {
    const items: HTMLElement[] = [];
    for (const [, s] of this.world.sensors(this.device.value.name).inOrder(this.device.value.sensors)) {
      const last = s.points.at(-1);
      const value = s.error ? "error" : !last ? "" : s.quantity === "" ? (last[1] ? "on" : "off") : measure(last[1], s.unit);
      if (!value) continue;
      items.push(h("li", { "data-on": s.quantity === "" && last?.[1] === 1, "data-error": s.error !== "", title: s.error || null }, h("span", {}, s.quantity === "" ? s.sensor : `${s.sensor} ${s.quantity}`), " ", h("b", {}, value)));
    }
    const same = items.length === this.#values.children.length && items.every((e, i) => e.isEqualNode(this.#values.children[i]!));
    if (!same) this.#values.replaceChildren(...items);
  }

  end() {
    this.feed?.end();
    this.world.sensors(this.device.value.name).want(this, false);
    for (const f of this.#forget) f();
    this.element.remove();
  }
}
