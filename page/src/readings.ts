// A device's sensors, large: the value there is, and how it got there.
import { h, put, say, type Signal } from "./dom";
import { Plot } from "./plot";
import type { Sensors, Series } from "./sensors";
import { measure } from "./text";
import type { Device } from "./types";
import type { World } from "./world";

export class Readings {
  readonly element = h("section", { class: "readings", hidden: true }, h("h2", {}, "Sensors"));
  #rows = new Map<string, { element: HTMLElement; value: HTMLElement; note: HTMLElement; plot: Plot }>();
  #forget: () => void;
  #sensors: Sensors;

  constructor(
    world: World,
    private readonly device: Signal<Device>,
  ) {
    this.#sensors = world.sensors(device.value.name);
    this.#forget = this.#sensors.changed.follow(() => this.tick());
  }

  want(on: boolean) {
    this.#sensors.want(this, on);
  }

  tick() {
    const now = Date.now();
    for (const [key, s] of this.#sensors.inOrder(this.device.value.sensors)) this.#row(key, s, now);
    put(this.element, "hidden", this.#rows.size === 0);
  }

  #row(key: string, s: Series, now: number) {
    let row = this.#rows.get(key);
    if (!row) {
      const value = h("b", { class: "value" });
      const note = h("p", { class: "hint" });
      const plot = new Plot();
      const label = s.quantity ? h("span", { class: "label" }, `${s.sensor} `, h("span", { class: "quantity" }, s.quantity)) : h("span", { class: "label" }, s.sensor);
      row = { element: h("div", { class: "row reading", "data-sensor": s.sensor }, h("div", { class: "pair" }, label, value), plot.element, note), value, note, plot };
      this.#rows.set(key, row);
      this.element.append(row.element);
    }
    const last = s.points.at(-1);
    say(row.value, !last ? "" : s.quantity === "" ? (last[1] ? "on" : "off") : measure(last[1], s.unit));
    put(row.element, "data-on", s.quantity === "" && last?.[1] === 1);
    say(row.note, s.error);
    put(row.element, "data-error", s.error !== "");
    row.plot.draw(s, now);
  }

  end() {
    this.want(false);
    this.#forget();
  }
}
