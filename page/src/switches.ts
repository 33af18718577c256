// A device's outputs as switches. Only who may set them is shown any.
import { h, put, say } from "./dom";
import type { Fault } from "./net";
import { moment } from "./text";
import type { OutputState } from "./types";
import type { World } from "./world";

const AGAIN = 3_000; // ms; others set outputs too, and limits pass

export class Switches {
  readonly element = h("section", { class: "switches", hidden: true }, h("h2", {}, "Outputs"));
  #rows = new Map<string, Row>();
  #timer: ReturnType<typeof setInterval>;

  constructor(
    private readonly world: World,
    private readonly device: string,
  ) {
    this.#timer = setInterval(() => this.#read(), AGAIN);
    void this.#read();
  }

  async #read() {
    if (!this.world.operator || !this.world.awake.value) {
      if (!this.world.operator) put(this.element, "hidden", true);
      return;
    }
    const { outputs } = await this.world.link.ask<{ outputs: OutputState[] }>("gpio.list", this.device, {}).catch(() => ({ outputs: null }));
    if (!outputs) return;
    put(this.element, "hidden", outputs.length === 0);
    for (const o of outputs) {
      let row = this.#rows.get(o.output);
      if (!row) {
        row = new Row(o.output, (on) => this.world.link.ask<OutputState>("gpio.set", this.device, { output: o.output, on }));
        this.#rows.set(o.output, row);
        this.element.append(row.element);
      }
      row.show(o);
    }
  }

  end() {
    clearInterval(this.#timer);
  }
}

class Row {
  readonly element: HTMLElement;
  #button: HTMLButtonElement;
  #note = h("p", { class: "hint", role: "status" });
  #on = false;
  #busy = false;

  constructor(
    name: string,
    private readonly set: (on: boolean) => Promise<OutputState>,
  ) {
    this.#button = h("button", { class: "switch", type: "button", role: "switch", "aria-checked": "false", "data-output": name, click: () => void this.#press() }, h("span", { class: "label" }, name), h("span", { class: "track", "aria-hidden": "true" }));
    this.element = h("div", { class: "row" }, this.#button, this.#note);
  }

  show(o: OutputState) {
    if (this.#busy) return;
    this.#on = o.on;
    put(this.#button, "aria-checked", String(o.on));
    put(this.#button, "disabled", o.shows !== undefined && o.shows !== "");
    const until = o.until ? `until ${moment(o.until)}` : "";
    say(this.#note, o.error || (o.shows ? `shows ${o.shows}` : until));
  }

  async #press() {
    if (this.#busy) return;
    const on = !this.#on;
    this.#busy = true;
    put(this.#button, "aria-busy", "true");
    put(this.#button, "aria-checked", String(on));
    try {
      const state = await this.set(on);
      this.#busy = false;
      this.show(state);
    } catch (e) {
      this.#busy = false;
      put(this.#button, "aria-checked", String(this.#on));
      say(this.#note, (e as Fault).message);
    }
    put(this.#button, "aria-busy", null);
  }
}
