// The page's connection: RSocket over one WebSocket, made again whenever it is lost. Requests and streams are asked over the
// connection there is; Follow asks for a stream again until nobody wants it any more.
//
// The connection is not resumed. What a page shows is the present: after an outage the newest picture is asked for, not the
// ones that were missed. perch view resumes the laptop's own link, below all this.
import { CompositeMetadata, encodeBearerAuthMetadata, encodeCompositeMetadata, encodeRoutes, WellKnownMimeType } from "rsocket-composite-metadata";
import { type Payload, type RSocket, RSocketConnector } from "rsocket-core";
import { WebsocketClientTransport } from "rsocket-websocket-client";
import { Buffer } from "./buffer";
import { Signal } from "./dom";
import type { BrokerInfo } from "./types";

// Codes of errors (Protocol.md, "Error Codes").
export const REJECTED_SETUP = 0x3;
export const REJECTED = 0x202;
export const INVALID = 0x204;

export class Fault extends Error {
  constructor(
    message: string,
    readonly code = 0,
  ) {
    super(message);
  }
}

const fault = (e: unknown) =>
  e instanceof Fault ? e : new Fault((e as Error | undefined)?.message ?? "the connection was lost", (e as { code?: number } | undefined)?.code ?? 0);

export type State =
  | "connecting" // for the first time
  | "up"
  | "down" // trying again
  | "asleep" // on purpose: nobody looks
  | "locked" // a secret is needed, or a token
  | "refused"; // for another reason, which why tells

export interface Stream {
  request(n: number): void;
  cancel(): void;
}

export interface Taker {
  next(p: Payload): void;
  end(e: Fault): void; // also when it was completed
}

// The signs of life: a path that has died without a word is noticed within LIFETIME + KEEPALIVE.
const KEEPALIVE = 3_000;
const LIFETIME = 9_000;
const OPENING = 6_000; // for a WebSocket to open, and for the first answer
const PAUSE = { first: 200, most: 5_000 };

const ignore = { onComplete() {}, onExtension() {} };

export class Link {
  readonly state = new Signal<State>("connecting");
  readonly info = new Signal<BrokerInfo>({ version: "" });
  why = "";
  token = ""; // in memory only
  lost = 0; // when the connection was lost; performance.now()

  #rsocket: RSocket | undefined;
  #generation = 0; // of attempts: what comes of an older one does not count
  #timer: ReturnType<typeof setTimeout> | undefined;
  #pause = PAUSE.first;

  // locked is asked, when a WebSocket could not be opened, whether that is for want of a secret.
  constructor(
    readonly url: string,
    private readonly locked: () => Promise<boolean>,
  ) {}

  // wake connects now, whatever was waited for.
  wake() {
    if (this.state.value === "up") return;
    this.#pause = PAUSE.first;
    this.#dial();
  }

  // sleep ends the connection until wake.
  sleep() {
    this.#drop();
    this.state.set("asleep");
  }

  #drop() {
    this.#generation++;
    clearTimeout(this.#timer);
    const old = this.#rsocket;
    this.#rsocket = undefined;
    old?.close();
  }

  async #dial() {
    this.#drop();
    const mine = this.#generation;
    const current = () => mine === this.#generation;
    let opened = false;
    const websocket = (url: string) => {
      const ws = new WebSocket(url);
      const limit = setTimeout(() => ws.close(), OPENING);
      ws.addEventListener("open", () => {
        opened = true;
        clearTimeout(limit);
      });
      return ws;
    };
    try {
      const metadata = this.token
        ? encodeCompositeMetadata([[WellKnownMimeType.MESSAGE_RSOCKET_AUTHENTICATION, encodeBearerAuthMetadata(this.token)]])
        : undefined;
      const rsocket = await new RSocketConnector({
        transport: new WebsocketClientTransport({ url: this.url, wsCreator: websocket as never }),
        setup: {
          keepAlive: KEEPALIVE,
          lifetime: LIFETIME,
          dataMimeType: "application/json",
          metadataMimeType: "message/x.rsocket.composite-metadata.v0",
          ...(metadata && { payload: { data: null as never, metadata } }),
        },
      }).connect();
      if (!current()) return rsocket.close();
      this.#rsocket = rsocket;
      rsocket.onClose((e) => {
        if (!current()) return;
        this.#rsocket = undefined; // closed it is
        this.#failed(fault(e));
      });
      // SETUP has no answer of its own: the first request's is the one that counts.
      const info = await this.ask<BrokerInfo>("broker.info", "", {}, OPENING).catch((e: Fault) => {
        if (e.code === REJECTED || e.code === INVALID) return { version: "" }; // an older broker, or another one
        throw e;
      });
      if (!current()) return;
      this.#pause = PAUSE.first;
      this.info.set(info);
      this.state.set("up");
    } catch (e) {
      if (!current()) return;
      if (!opened && (await this.locked())) {
        if (current()) this.state.set("locked");
        return;
      }
      if (current()) this.#failed(fault(e));
    }
  }

  #failed(e: Fault) {
    this.#drop();
    this.why = e.message;
    if (e.code === REJECTED_SETUP) {
      this.state.tell("refused"); // once more, too: with another token
      return;
    }
    if (this.state.value === "up") this.lost = performance.now();
    if (this.state.value !== "connecting") this.state.set("down");
    this.#timer = setTimeout(() => this.#dial(), this.#pause * (0.5 + Math.random()));
    this.#pause = Math.min(2 * this.#pause, PAUSE.most);
    if (this.#pause > 8 * PAUSE.first) this.state.set("down");
  }

  #payload(route: string, device: string, data: unknown, tags: string[]): Payload {
    const routes = device ? [route, `device=${device}`, ...tags] : [route, ...tags];
    return {
      data: Buffer.from(JSON.stringify(data)),
      metadata: encodeCompositeMetadata([[WellKnownMimeType.MESSAGE_RSOCKET_ROUTING, encodeRoutes(...routes)]]),
    };
  }

  // askRaw asks for one answer, with its metadata.
  askRaw(route: string, device: string, data: unknown, limit = 15_000, ...tags: string[]): Promise<Payload> {
    return new Promise((resolve, reject) => {
      if (!this.#rsocket) return reject(new Fault("there is no connection"));
      const request = this.#rsocket.requestResponse(this.#payload(route, device, data, tags), {
        ...ignore,
        onNext(p) {
          clearTimeout(timer);
          resolve(p);
        },
        onError(e) {
          clearTimeout(timer);
          reject(fault(e));
        },
      });
      const timer = setTimeout(() => {
        request.cancel();
        reject(new Fault("no answer came in time"));
      }, limit);
    });
  }

  async ask<T>(route: string, device: string, data: unknown, limit?: number): Promise<T> {
    return json<T>(await this.askRaw(route, device, data, limit));
  }

  // stream asks for a stream, and for n elements of it. It is undefined when there is no connection.
  stream(route: string, device: string, data: unknown, n: number, take: Taker, ...tags: string[]): Stream | undefined {
    if (!this.#rsocket) return undefined;
    let over = false;
    const end = (e: Fault) => {
      if (over) return;
      over = true;
      take.end(e);
    };
    const stream = this.#rsocket.requestStream(this.#payload(route, device, data, tags), n, {
      ...ignore,
      onNext: (p, last) => {
        if (over) return;
        try {
          take.next(p);
        } catch {
          // The connection would end with it, and with that what all others send.
          if (!last) stream.cancel();
          return end(new Fault("what it sends cannot be read", INVALID));
        }
        if (last) end(new Fault("it has ended"));
      },
      onError: (e) => end(fault(e)),
      onComplete: () => end(new Fault("it has ended")),
    });
    return {
      request: (n) => {
        if (!over) stream.request(n);
      },
      cancel: () => {
        if (over) return;
        over = true;
        stream.cancel();
      },
    };
  }
}

export function json<T>(p: Payload): T {
  return JSON.parse(p.data ? p.data.toString() : "null") as T;
}

// entry finds one entry of a payload's metadata.
export function entry(p: Payload, type: string): Buffer | undefined {
  if (!p.metadata) return undefined;
  for (const e of new CompositeMetadata(p.metadata)) {
    const named = e as { mimeType?: string; type?: string; content: Buffer };
    if ((named.mimeType ?? named.type) === type) return named.content;
  }
  return undefined;
}

// Follow keeps a stream open as long as it is wanted: over lost connections, and over errors, after which it waits a little
// longer each time until something comes again.
export class Follow {
  stream: Stream | undefined;
  error = ""; // why there is none
  #wanted = false;
  #pause = 500;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #forget: () => void;

  constructor(
    private readonly link: Link,
    private readonly open: (take: Taker) => Stream | undefined,
    private readonly take: { next(p: Payload): void; ended?(e: Fault): void },
  ) {
    this.#forget = link.state.follow((s) => {
      if (s === "up") this.kick();
    });
  }

  want(on: boolean) {
    if (this.#wanted === on) return;
    this.#wanted = on;
    if (on) this.kick();
    else this.#close();
  }

  // kick asks now if it was being waited.
  kick() {
    clearTimeout(this.#timer);
    this.#pause = 500;
    this.#ask();
  }

  // again asks anew, for something else.
  again() {
    this.#close();
    this.#ask();
  }

  end() {
    this.want(false);
    this.#forget();
  }

  #close() {
    clearTimeout(this.#timer);
    this.stream?.cancel();
    this.stream = undefined;
    this.error = "";
  }

  #ask() {
    if (!this.#wanted || this.stream || this.link.state.value !== "up") return;
    this.stream = this.open({
      next: (p) => {
        this.#pause = 500;
        this.error = "";
        this.take.next(p);
      },
      end: (e) => {
        this.stream = undefined;
        this.error = e.code ? e.message : "";
        this.take.ended?.(e);
        this.#timer = setTimeout(() => this.#ask(), this.#pause);
        this.#pause = Math.min(2 * this.#pause, 10_000);
      },
    });
  }
}
