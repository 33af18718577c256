// How old a picture is, measured: the device's monotonic clock is compared with this page's by the fastest of a few round
// trips. No two clocks have to be set right for it. This is pkg/api's Clock in another language.
import type { Link } from "./net";
import type { ClockReply } from "./types";

const DRIFT = 200e-6; // two crystals, 100 parts per million each
const TRIPS = 3;
const GOOD = 20_000; // ms; then it is measured anew

export class Clock {
  #boot = "";
  #offset = 0; // device − page, ms
  #slack = Infinity;
  #at = -Infinity;
  #measured = -Infinity;
  #busy = false;

  constructor(
    private readonly link: Link,
    private readonly device: string,
  ) {
    link.state.follow((s) => {
      if (s !== "up") this.#measured = -Infinity; // another path has other round trips
    });
  }

  // keep has the estimate made, or made anew when it is old or of another run of the device.
  keep(boot: string) {
    const now = performance.now();
    if (this.#busy || (boot === this.#boot && now - this.#measured < GOOD)) return;
    this.#busy = true;
    this.#measured = now;
    void this.#measure().finally(() => (this.#busy = false));
  }

  async #measure() {
    try {
      for (let i = 0; i < TRIPS; i++) {
        const sent = performance.now();
        const reply = await this.link.ask<ClockReply>("agent.clock", this.device, {}, 5_000);
        this.#add(sent, performance.now(), reply);
      }
    } catch {
      // The device does not tell its clock, or is away: ages are unknown, and pictures come all the same.
    }
  }

  #add(sent: number, received: number, reply: ClockReply) {
    const slack = (received - sent) / 2;
    const at = sent + slack;
    const offset = reply.mono_ns / 1e6 - at;
    const kept = this.#slack + Math.abs(at - this.#at) * DRIFT;
    const apart = Math.abs(offset - this.#offset);
    if (reply.boot === this.#boot && kept <= slack && apart <= kept + slack) return;
    this.#boot = reply.boot;
    this.#offset = offset;
    this.#slack = slack;
    this.#at = at;
  }

  // age is how many milliseconds ago the device stamped something; undefined is not known.
  age(boot: string, monoNS: number): number | undefined {
    if (boot !== this.#boot) return undefined;
    return Math.max(0, performance.now() + this.#offset - monoNS / 1e6);
  }
}
