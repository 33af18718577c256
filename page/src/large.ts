// One camera, large, with all that belongs to it and its device.
import { Controls } from "./controls";
import { h, put, say, type Signal } from "./dom";
import { Feed } from "./feed";
import { entry, type Fault } from "./net";
import { Readings } from "./readings";
import { Switches } from "./switches";
import { age, fileName, moment, rate } from "./text";
import type { Tile } from "./tile";
import type { Device, FrameHeader, StreamOptions } from "./types";
import type { World } from "./world";

export interface Neighbours {
  before: string; // addresses
  after: string;
}

export class Large {
  readonly element: HTMLElement;
  readonly feed: Feed | undefined;
  #canvas = h("canvas", { role: "img", width: 16, height: 9 });
  #note = h("p", { class: "note" });
  #facts = h("p", { class: "facts" });
  #state = h("p", { class: "state", role: "status" });
  #save = h("button", { type: "button", class: "save", click: () => void this.save() }, "Save picture");
  #saved = h("p", { class: "hint", role: "status" });
  #frame: HTMLElement;
  #controls: Controls | undefined;
  #readings: Readings;
  #switches: Switches;
  #forget: (() => void)[] = [];
  readonly heading: HTMLHeadingElement;

  constructor(
    private readonly world: World,
    private readonly device: Signal<Device>,
    readonly camera: string,
    near: Neighbours,
    tile: Tile | undefined,
  ) {
    const name = device.value.name;
    const several = (device.value.cameras?.length ?? 0) > 1;
    put(this.#canvas, "aria-label", `the picture of ${camera || "no camera"} of ${name}`);
    this.heading = h("h1", { tabindex: -1 }, name, several ? h("span", { class: "camera" }, ` ${camera}`) : null);
    this.#readings = new Readings(world, device);
    this.#switches = new Switches(world, name);
    if (camera) this.#controls = new Controls(world, name, camera);
    this.#frame = h("div", { class: "frame" }, this.#canvas, this.#note);
    this.element = h(
      "article",
      { class: "large", "data-device": name, "data-camera": camera },
      h(
        "div",
        { class: "stage" },
        this.#frame,
        h("div", { class: "under" }, this.#facts, h("div", { class: "tools" }, camera ? this.#save : null, camera ? h("button", { type: "button", class: "full", click: () => this.full() }, "Full screen") : null)),
        this.#saved,
      ),
      h(
        "div",
        { class: "panel" },
        h("nav", { "aria-label": "Cameras" }, h("a", { class: "back", href: "#/" }, "All cameras"), h("span", {}, h("a", { href: near.before, rel: "prev", "aria-label": "previous camera" }, "←"), h("a", { href: near.after, rel: "next", "aria-label": "next camera" }, "→"))),
        this.heading,
        this.#state,
        this.#controls?.model ?? null,
        this.#readings.element,
        this.#switches.element,
        camera ? this.#picture() : null,
        this.#controls?.element ?? null,
      ),
    );
    if (camera) {
      this.feed = new Feed(world.link, name, this.#canvas, world.clock(name), () => this.feed?.mark(this.element));
      this.feed.options = { camera };
      void this.#begin(tile);
    }
    let was = device.value.state;
    this.#forget.push(
      device.follow((d) => {
        put(this.element, "data-state", d.state);
        if (d.state === "online") {
          this.feed?.kick();
          world.sensors(name).kick();
          if (was !== "online") void this.#controls?.read();
        }
        was = d.state;
        this.#want();
        this.tick();
      }),
      world.awake.follow(() => this.#want()),
      world.link.info.follow(() => void this.#controls?.read()),
    );
  }

  // begin shows what the grid has of the picture until a larger one is there.
  async #begin(tile: Tile | undefined) {
    if (!tile?.feed?.header) return;
    const bitmap = await createImageBitmap(tile.feed.canvas);
    if (this.feed?.header) return bitmap.close();
    this.#canvas.width = bitmap.width;
    this.#canvas.height = bitmap.height;
    this.#canvas.getContext("bitmaprenderer")!.transferFromImageBitmap(bitmap);
    this.element.classList.add("painted");
  }

  #want() {
    const on = this.world.awake.value && this.device.value.state !== "left";
    this.feed?.want(on);
    this.#readings.want(on && (this.device.value.sensors?.length ?? 0) > 0);
  }

  // picture is what can be chosen of it: this belongs to who looks, and anybody may.
  #picture(): HTMLElement {
    const choice = (label: string, what: keyof StreamOptions, ...choices: [string, number][]) => {
      const select = h(
        "select",
        {
          "data-option": what,
          change: () => {
            const o: StreamOptions = { ...this.feed!.options };
            delete o[what];
            if (select.value !== "0") Object.assign(o, { [what]: Number(select.value) });
            this.feed!.options = o;
          },
        },
        ...choices.map(([text, value]) => h("option", { value }, text)),
      );
      return h("label", { class: "row pair" }, h("span", { class: "label" }, label), select);
    };
    return h(
      "section",
      { class: "picture" },
      h("h2", {}, "Picture"),
      choice("Rate", "fps", ["the camera’s", 0], ["15 fps", 15], ["10 fps", 10], ["5 fps", 5], ["2 fps", 2], ["1 fps", 1]),
      choice("Size", "width", ["the camera’s", 0], ["1280 wide", 1280], ["640 wide", 640], ["320 wide", 320]),
      choice("Quality", "quality", ["the camera’s", 0], ["90", 90], ["75", 75], ["60", 60], ["40", 40], ["20", 20]),
    );
  }

  tick() {
    const d = this.device.value;
    const old = this.feed?.age;
    const header = this.feed?.header;
    const since = moment(d.since);
    say(this.#state, d.state === "online" ? `online since ${since}` : d.state === "away" ? `away since ${since}: its link is lost, and it may come back` : `left at ${since}`);
    const facts = [header ? `${header.width} × ${header.height}` : "", rate(this.feed?.fps ?? 0), old === undefined ? "" : `${age(old)} old`];
    say(this.#facts, facts.filter(Boolean).join("  ·  "));
    put(this.element, "data-late", d.state === "online" && (this.feed?.late ?? false));
    const error = d.state === "online" ? (this.feed?.error ?? "") : "";
    say(this.#note, error || (this.camera ? (header || this.element.classList.contains("painted") ? "" : d.state === "online" ? "waiting for a picture" : "") : "This device has no camera."));
    put(this.#save, "disabled", d.state === "left");
    this.#readings.tick();
  }

  // save asks for a picture of its own: the whole of what the camera has, newer than the click.
  async save() {
    if (!this.camera || this.#save.getAttribute("aria-busy")) return;
    put(this.#save, "aria-busy", "true");
    try {
      const p = await this.world.link.askRaw("camera.snapshot", this.device.value.name, { camera: this.camera }, 20_000);
      const text = entry(p, "application/vnd.perch.frame.v1+json");
      const at = text ? (JSON.parse(text.toString()) as FrameHeader).at : new Date().toISOString();
      const url = URL.createObjectURL(new Blob([p.data as BlobPart], { type: "image/jpeg" }));
      const name = `${fileName(this.device.value.name, this.camera, at.slice(0, 19))}.jpg`;
      h("a", { href: url, download: name }).click();
      setTimeout(() => URL.revokeObjectURL(url), 10_000);
      say(this.#saved, `Saved as ${name}`);
    } catch (e) {
      say(this.#saved, `Not saved: ${(e as Fault).message}`);
    }
    put(this.#save, "aria-busy", null);
  }

  full() {
    if (document.fullscreenElement) void document.exitFullscreen();
    else void this.#frame.requestFullscreen?.().catch(() => {});
  }

  end() {
    this.feed?.end();
    this.#readings.end();
    this.#switches.end();
    for (const f of this.#forget) f();
    this.element.remove();
  }
}
