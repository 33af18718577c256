// A device's sensors: how they are, and how they were since somebody began to look. They are watched while anything that shows
// them can be seen.
import type { Payload } from "rsocket-core";
import { Signal } from "./dom";
import { Follow, json, type Link } from "./net";
import type { Reading } from "./types";

const KEPT = 600; // points of a series
const WINDOW = 10 * 60_000; // ms

export interface Series {
  sensor: string;
  quantity: string; // "" for a level, which is on or off
  unit: string;
  points: [at: number, value: number][]; // Date.now(), by this page's clock
  error: string;
}

export class Sensors {
  readonly series = new Map<string, Series>();
  readonly changed = new Signal(0);
  #follow: Follow;
  #wanting = new Set<object>();

  constructor(link: Link, device: string) {
    this.#follow = new Follow(
      link,
      (take) => link.stream("sensors.watch", device, { mode: "latest" }, 16, take),
      {
        next: (p) => {
          this.#follow.stream?.request(1);
          this.#take(p);
        },
      },
    );
  }

  // inOrder is all series, in the order in which the device names its sensors.
  inOrder(sensors: { name: string }[] = []): [string, Series][] {
    const place = (s: Series) => sensors.findIndex(({ name }) => name === s.sensor);
    return [...this.series].sort(([, a], [, b]) => place(a) - place(b)); // which keeps the order of a sensor's quantities
  }

  want(who: object, on: boolean) {
    if (on) this.#wanting.add(who);
    else this.#wanting.delete(who);
    this.#follow.want(this.#wanting.size > 0);
  }

  kick() {
    this.#follow.kick();
  }

  #take(p: Payload) {
    const r = json<Reading>(p);
    if (!r.sensor) return;
    if (r.error) {
      for (const s of this.series.values()) if (s.sensor === r.sensor) s.error = r.error.text;
      if (![...this.series.values()].some((s) => s.sensor === r.sensor)) this.#of(r.sensor, "", "").error = r.error.text;
    }
    if (r.on !== undefined) this.#add(this.#of(r.sensor, "", ""), r.on ? 1 : 0);
    for (const v of r.values ?? []) if (Number.isFinite(v.v)) this.#add(this.#of(r.sensor, v.q, v.u), v.v);
    this.changed.set(this.changed.value + 1);
  }

  #of(sensor: string, quantity: string, unit: string): Series {
    const key = `${sensor}/${quantity}`;
    let s = this.series.get(key);
    if (!s) this.series.set(key, (s = { sensor, quantity, unit, points: [], error: "" }));
    return s;
  }

  #add(s: Series, value: number) {
    const now = Date.now();
    s.error = "";
    s.points.push([now, value]);
    while (s.points.length > KEPT || (s.points.length > 2 && s.points[1]![0] < now - WINDOW)) s.points.shift();
  }
}
