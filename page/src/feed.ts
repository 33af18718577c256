// One camera's pictures on one canvas.
//
// The pace is the page's: REQUEST_N asks for the next picture when the last one has been decoded and painted, so that a slow
// page is sent fewer pictures and none of them old. Where drawing takes less than half of the time between two pictures, the
// next is asked for as soon as one arrives: then the way back and forth does not limit the rate. If a picture arrives while
// another is being drawn all the same, only the newest waits.
import type { Payload } from "rsocket-core";
import type { Clock } from "./clock";
import { put } from "./dom";
import { entry, type Fault, Follow, type Link } from "./net";
import type { FrameHeader, StreamOptions } from "./types";

const FRAME = "application/vnd.perch.frame.v1+json";
const SPAN = 3_000; // ms over which the rate is counted
const LATE = 5_000; // ms

export class Feed {
  header: FrameHeader | undefined; // of the picture that is shown
  newest: Uint8Array | undefined; // its bytes
  dropped = 0; // pictures that came and were never drawn

  #follow: Follow;
  #canvas: ImageBitmapRenderingContext;
  #options: StreamOptions = {};
  #drawing = false;
  #waiting: [FrameHeader, Uint8Array, boolean] | undefined;
  #painted: number[] = []; // when
  #arrived = 0;
  #between = 0; // ms between arrivals, smoothed; 0 is not known
  #takes = 0; // ms to draw one, smoothed

  constructor(
    link: Link,
    device: string,
    readonly canvas: HTMLCanvasElement,
    readonly clock: Clock,
    private readonly changed: () => void,
  ) {
    this.#canvas = canvas.getContext("bitmaprenderer")!;
    this.#follow = new Follow(link, (take) => link.stream("camera.stream", device, { ...this.#options, share: true }, 1, take, "share=1"), {
      next: (p) => this.#take(p),
      ended: (_: Fault) => changed(),
    });
  }

  set options(o: StreamOptions) {
    if (JSON.stringify(o) === JSON.stringify(this.#options)) return;
    this.#options = o;
    this.#reset();
    this.#follow.again();
  }
  get options() {
    return this.#options;
  }

  // error is why no pictures come, "" when they do or none was tried.
  get error() {
    return this.#follow.error;
  }

  want(on: boolean) {
    if (!on) this.#reset();
    this.#follow.want(on);
  }

  kick() {
    this.#follow.kick();
  }

  end() {
    this.#follow.end();
  }

  // age of the picture that is shown, in milliseconds.
  get age(): number | undefined {
    return this.header && this.clock.age(this.header.boot, this.header.mono_ns);
  }

  // late: it is so old that whoever looks should see it.
  get late(): boolean {
    const age = this.age;
    return age !== undefined && age > LATE;
  }

  // mark says at what shows the canvas which picture is on it.
  mark(element: HTMLElement) {
    if (!this.header) return;
    put(element, "data-seq", String(this.header.seq));
    put(element, "data-at", this.header.at);
    element.classList.add("painted");
  }

  // fps is how many pictures a second were painted lately.
  get fps(): number {
    const since = performance.now() - SPAN;
    while (this.#painted.length > 0 && this.#painted[0]! < since) this.#painted.shift();
    const n = this.#painted.length;
    if (n < 2) return n && performance.now() - this.#painted[0]! < SPAN ? n / (SPAN / 1000) : 0;
    return ((n - 1) * 1000) / (this.#painted[n - 1]! - this.#painted[0]!);
  }

  #reset() {
    this.#waiting = undefined;
    this.#painted = [];
    this.#between = this.#arrived = 0;
  }

  #take(p: Payload) {
    const now = performance.now();
    if (this.#arrived) this.#between = smooth(this.#between, now - this.#arrived);
    this.#arrived = now;
    const text = entry(p, FRAME);
    if (!text || !p.data) {
      this.#ask();
      return;
    }
    const header = JSON.parse(text.toString()) as FrameHeader;
    this.clock.keep(header.boot);
    const ahead = this.#between > 0 && this.#takes < this.#between / 2;
    if (ahead) this.#ask();
    if (this.#drawing) {
      if (this.#waiting) {
        this.dropped++;
        if (!this.#waiting[2]) this.#ask();
      }
      this.#waiting = [header, p.data, ahead];
      return;
    }
    void this.#draw(header, p.data, ahead);
  }

  #ask() {
    this.#follow.stream?.request(1);
  }

  async #draw(header: FrameHeader, data: Uint8Array, asked: boolean) {
    this.#drawing = true;
    const stream = this.#follow.stream;
    const began = performance.now();
    try {
      const bitmap = await createImageBitmap(new Blob([data as BlobPart], { type: "image/jpeg" }));
      if (stream === this.#follow.stream) {
        if (this.canvas.width !== bitmap.width) this.canvas.width = bitmap.width;
        if (this.canvas.height !== bitmap.height) this.canvas.height = bitmap.height;
        this.#canvas.transferFromImageBitmap(bitmap);
        this.header = header;
        this.newest = data;
        this.#takes = smooth(this.#takes, performance.now() - began);
        await frame();
        this.#painted.push(performance.now());
        this.changed();
      } else {
        bitmap.close();
      }
    } catch {
      this.dropped++; // not a picture that this browser can read
    }
    this.#drawing = false;
    const waiting = this.#waiting;
    this.#waiting = undefined;
    if (stream === this.#follow.stream && !asked) this.#ask();
    if (waiting) void this.#draw(...waiting);
  }
}

const smooth = (was: number, is: number) => (was ? was + (is - was) / 4 : is);

// frame waits until the browser has shown what was drawn; a page that is hidden does not wait for ever.
function frame(): Promise<void> {
  return new Promise((done) => {
    const late = setTimeout(done, 250);
    requestAnimationFrame(() => {
      clearTimeout(late);
      done();
    });
  });
}
