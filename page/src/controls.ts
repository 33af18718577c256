// A camera's controls, as its driver names them. What is shown is what the camera made of a wish, read back.
import { h, put, say } from "./dom";
import type { Fault } from "./net";
import { words } from "./text";
import type { Camera, Control, ControlReply } from "./types";
import type { World } from "./world";

export class Controls {
  readonly element = h("section", { class: "controls", hidden: true });
  readonly model = h("p", { class: "hint" });
  #rows = new Map<string, Knob>();
  #wishes: Record<string, number> = {};
  #sending = false;

  constructor(
    private readonly world: World,
    private readonly device: string,
    private readonly camera: string,
  ) {}

  async read() {
    const list = await this.world.link.ask<{ cameras: Camera[] }>("camera.list", this.device, {}).catch(() => null);
    const camera = list?.cameras.find((c) => c.name === this.camera);
    if (!camera) return;
    const mode = camera.mode ? `, ${camera.mode.width} × ${camera.mode.height} ${camera.mode.format}` : "";
    say(this.model, `${camera.model || camera.kind}${mode}`);
    const shown = this.world.operator ? (camera.controls ?? []) : [];
    put(this.element, "hidden", shown.length === 0);
    const head = h("h2", {}, "Camera");
    this.#rows.clear();
    const knobs = shown.map((c) => {
      const knob = new Knob(c, (value) => this.#wish(c.name, value));
      this.#rows.set(c.name, knob);
      return knob.element;
    });
    this.element.replaceChildren(head, ...knobs);
  }

  // wish sends the newest wishes, one request at a time: a slider is moved faster than a camera is set.
  #wish(name: string, value: number) {
    this.#wishes[name] = value;
    if (!this.#sending) void this.#send();
  }

  async #send() {
    this.#sending = true;
    while (Object.keys(this.#wishes).length > 0) {
      const set = this.#wishes;
      this.#wishes = {};
      try {
        const reply = await this.world.link.ask<ControlReply>("camera.control", this.device, { camera: this.camera, set });
        for (const [name, knob] of this.#rows) {
          if (name in this.#wishes) continue;
          const value = reply.values?.[name];
          if (value !== undefined) knob.show(value);
          knob.complain(reply.errors?.[name] ?? "");
        }
      } catch (e) {
        for (const name of Object.keys(set)) this.#rows.get(name)?.complain((e as Fault).message);
      }
    }
    this.#sending = false;
  }
}

let number = 0; // of ids

class Knob {
  readonly element: HTMLElement;
  #note = h("p", { class: "hint", role: "status" });
  show: (value: number) => void = () => {};

  constructor(c: Control, set: (value: number) => void) {
    const id = `knob-${++number}`;
    const label = words(c.name);
    const off = c.off === true;
    switch (c.type) {
      case "bool": {
        const b = h("button", { class: "switch", type: "button", role: "switch", disabled: off, click: () => set(b.getAttribute("aria-checked") === "true" ? 0 : 1) }, h("span", { class: "label" }, label), h("span", { class: "track", "aria-hidden": "true" }));
        this.show = (v) => put(b, "aria-checked", String(v !== 0));
        this.element = h("div", { class: "row" }, b, this.#note);
        break;
      }
      case "menu": {
        const s = h("select", { id, disabled: off, change: () => set(Number(s.value)) }, ...Object.entries(c.menu ?? {}).map(([v, name]) => h("option", { value: v }, name)));
        this.show = (v) => (s.value = String(v));
        this.element = h("div", { class: "row" }, h("label", { for: id, class: "pair" }, h("span", { class: "label" }, label), s), this.#note);
        break;
      }
      case "button":
        this.element = h("div", { class: "row" }, h("button", { type: "button", disabled: off, click: () => set(1) }, label), this.#note);
        break;
      case "int": {
        const value = h("output", { for: id });
        const range = h("input", {
          id,
          type: "range",
          min: c.min,
          max: c.max,
          step: c.step || 1,
          disabled: off,
          input: () => {
            say(value, range.value);
            set(Number(range.value));
          },
          dblclick: () => set(c.default),
        });
        put(range, "title", `${c.min} to ${c.max}; twice for ${c.default}, which is the default`);
        this.show = (v) => {
          if (document.activeElement !== range || !range.matches(":active")) range.value = String(v);
          say(value, String(v));
        };
        this.element = h("div", { class: "row" }, h("label", { for: id, class: "pair" }, h("span", { class: "label" }, label), value), range, this.#note);
        break;
      }
      default: // bitmask, or a later version's
        this.element = h("div", { class: "row pair" }, h("span", { class: "label" }, label), h("output", {}, String(c.value)));
    }
    put(this.element, "data-control", c.name);
    this.show(c.value);
  }

  complain(text: string) {
    say(this.#note, text);
  }
}
