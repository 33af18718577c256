// A small plot of one series: a line, and the span it moves in.
import { put, say, svg } from "./dom";
import type { Series } from "./sensors";
import { measure } from "./text";

const W = 240;
const H = 40;
const PAD = 3;

export class Plot {
  readonly element: SVGSVGElement;
  #line = svg("path", { class: "line", "vector-effect": "non-scaling-stroke" });
  #area = svg("path", { class: "area" });
  #title = svg("title");

  constructor() {
    this.element = svg("svg", { class: "plot", viewBox: `0 0 ${W} ${H}`, preserveAspectRatio: "none", role: "img" }, this.#title, this.#area, this.#line);
  }

  draw(s: Series, now: number) {
    const points = s.points;
    if (points.length === 0) return;
    const level = s.quantity === "";
    let low = Infinity;
    let high = -Infinity;
    for (const [, v] of points) {
      low = Math.min(low, v);
      high = Math.max(high, v);
    }
    say(this.#title, level ? `${s.sensor}, on or off` : `between ${measure(low, s.unit)} and ${measure(high, s.unit)}`);
    if (level) [low, high] = [0, 1];
    // A quiet sensor is a quiet line: noise of a thousandth is not blown up to the full height.
    const least = Math.max(Math.abs(high) * 0.01, 1e-9);
    if (high - low < least) [low, high] = [(low + high - least) / 2, (low + high + least) / 2];
    const begin = Math.min(points[0]![0], now - 10_000);
    const x = (at: number) => (((at - begin) / (now - begin)) * W).toFixed(1);
    const y = (v: number) => (H - PAD - ((v - low) / (high - low)) * (H - 2 * PAD)).toFixed(1);
    let d = `M${x(points[0]![0])} ${y(points[0]![1])}`;
    for (const [at, v] of points.slice(1)) d += level ? `H${x(at)}V${y(v)}` : `L${x(at)} ${y(v)}`;
    d += `H${W}`;
    put(this.#line, "d", d);
    put(this.#area, "d", `${d}V${H}H${x(points[0]![0])}Z`);
  }
}
