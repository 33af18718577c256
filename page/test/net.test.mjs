// The page's connection, without a browser: what one device sends must not end what the others share.
import assert from "node:assert/strict";
import { test } from "node:test";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { build } from "esbuild";
import { deserializeFrame, Flags, FrameTypes, serializeFrame } from "rsocket-core";

const source = (name) => fileURLToPath(new URL(`../src/${name}`, import.meta.url));

// Wire is a WebSocket whose other end answers every request with {}, and streams with what says.
class Wire extends EventTarget {
  static made = 0;
  static says = [];
  static heard = [];
  constructor() {
    super();
    Wire.made++;
    queueMicrotask(() => this.dispatchEvent(new Event("open")));
  }
  close() {}
  send(bytes) {
    const f = deserializeFrame(Buffer.from(bytes));
    Wire.heard.push(f.type);
    const say = (text, flags) => {
      const b = serializeFrame({ type: FrameTypes.PAYLOAD, streamId: f.streamId, flags: Flags.NEXT | flags, data: Buffer.from(text), metadata: null });
      queueMicrotask(() => this.dispatchEvent(Object.assign(new Event("message"), { data: new Uint8Array(b).buffer })));
    };
    if (f.type === FrameTypes.REQUEST_RESPONSE) say("{}", Flags.COMPLETE);
    if (f.type === FrameTypes.REQUEST_STREAM) for (const text of Wire.says) say(text, 0);
  }
}

test("a device that sends what cannot be read ends its own stream, and nothing else", async () => {
  const dir = await mkdtemp(join(fileURLToPath(new URL("..", import.meta.url)), "node_modules/.net-"));
  globalThis.WebSocket = Wire;
  let link;
  try {
    const outfile = join(dir, "net.mjs");
    await build({ entryPoints: [source("net.ts")], outfile, bundle: true, format: "esm", inject: [source("buffer.ts")], define: { global: "globalThis" } });
    const { Link, json } = await import(pathToFileURL(outfile));
    link = new Link("ws://127.0.0.1/", async () => false);
    const up = new Promise((done) => link.state.follow((s) => s === "up" && done()));
    link.wake();
    await up;

    Wire.says = ['{"n":1}', "this is no JSON", '{"n":2}'];
    const taken = [];
    const fault = await new Promise((done) => link.stream("sensors.watch", "odd", {}, 16, { next: (p) => taken.push(json(p).n), end: done }));
    assert.match(fault.message, /cannot be read/);
    assert.ok(fault.code, "an error that is shown");
    assert.deepEqual(taken, [1]);
    assert.equal(Wire.heard.at(-1), FrameTypes.CANCEL);
    assert.equal(link.state.value, "up");
    assert.deepEqual(await link.ask("agent.info", "other", {}), {});
    assert.equal(Wire.made, 1, "connections");
  } finally {
    link?.sleep();
    await rm(dir, { recursive: true, force: true });
  }
});
