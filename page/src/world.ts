// What the parts of the page share.
import { Clock } from "./clock";
import { Devices } from "./devices";
import { Signal } from "./dom";
import type { Link } from "./net";
import { Sensors } from "./sensors";

export class World {
  readonly awake = new Signal(document.visibilityState === "visible");
  readonly devices: Devices;
  #clocks = new Map<string, Clock>();
  #sensors = new Map<string, Sensors>();

  constructor(readonly link: Link) {
    this.devices = new Devices(link);
  }

  clock(device: string): Clock {
    let c = this.#clocks.get(device);
    if (!c) this.#clocks.set(device, (c = new Clock(this.link, device)));
    return c;
  }

  sensors(device: string): Sensors {
    let s = this.#sensors.get(device);
    if (!s) this.#sensors.set(device, (s = new Sensors(this.link, device)));
    return s;
  }

  // operator reports whether we may set controls and outputs.
  get operator(): boolean {
    const role = this.link.info.value.role;
    return role === "operator" || role === "admin";
  }
}
