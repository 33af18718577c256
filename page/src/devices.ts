// The devices there are, and what becomes of them, as they happen. A device that has left is kept for a while, so that it can
// be seen that it has, and comes back to its place.
import { Signal } from "./dom";
import { Follow, json, type Link } from "./net";
import type { Device, DeviceEvent } from "./types";

const REMEMBERED = 10 * 60_000; // ms

export class Devices {
  readonly all = new Map<string, Signal<Device>>();
  readonly known = new Signal(0); // rises when a device is there that was not, or is forgotten
  readonly said = new Signal(""); // the newest change, in words
  readonly listed = new Signal(false); // the first list has come

  constructor(private readonly link: Link) {
    const watch = new Follow(
      link,
      (take) => link.stream("broker.watch", "", {}, 64, take),
      {
        next: (p) => {
          watch.stream?.request(1);
          const e = json<DeviceEvent>(p);
          if (e.device) this.#set(e.device, e.type === "change");
          if (e.type === "gap") void this.#list();
        },
      },
    );
    watch.want(true);
    link.state.follow((s) => {
      if (s === "up") void this.#list();
    });
    setInterval(() => this.#forget(), 30_000);
  }

  // list reads them all, for what a watch cannot tell: who has gone while nobody watched.
  async #list() {
    const devices: Device[] = [];
    try {
      for (let after: string | undefined = ""; after !== undefined; ) {
        const page: { devices: Device[]; next?: string } = await this.link.ask("broker.devices", "", after ? { after } : {});
        devices.push(...page.devices);
        after = page.next && page.next > after ? page.next : undefined;
      }
    } catch {
      return; // the link is lost, or will be: with the next one it is asked for again
    }
    const names = new Set(devices.map((d) => d.name));
    for (const d of devices) this.#set(d, false);
    for (const [name, d] of this.all) {
      if (!names.has(name) && d.value.state !== "left") this.#set({ ...d.value, state: "left", since: new Date().toISOString() }, true);
    }
    this.listed.set(true);
  }

  #set(d: Device, news: boolean) {
    const known = this.all.get(d.name);
    if (!known) {
      if (d.state === "left") return;
      this.all.set(d.name, new Signal(d));
      if (news) this.said.set(`${d.name} is ${d.state}`);
      this.known.set(this.known.value + 1);
      return;
    }
    const was = known.value;
    // What a device had is kept while it is gone.
    known.set(d.state === "online" ? d : { ...was, ...d, cameras: d.cameras ?? was.cameras, sensors: d.sensors ?? was.sensors, outputs: d.outputs ?? was.outputs } as Device);
    if (was.state !== d.state) this.said.set(d.state === "left" ? `${d.name} has left` : `${d.name} is ${d.state}`);
  }

  #forget() {
    let gone = false;
    for (const [name, d] of this.all) {
      if (d.value.state === "left" && Date.now() - Date.parse(d.value.since) > REMEMBERED) {
        this.all.delete(name);
        gone = true;
      }
    }
    if (gone) this.known.set(this.known.value + 1);
  }
}
