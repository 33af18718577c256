// What the tests of the page run on: Perch's own programs as a person would start them, relays whose links can be cut, and a
// browser.
import { spawn } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const root = fileURLToPath(new URL("../..", import.meta.url));
const program = (name) => join(root, "build/bin", name);
export const artifacts = join(root, "build/page");

// sleep and until: what happens elsewhere is waited for, with a limit that says what did not happen.
export const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
export async function until(what, ask, limit = 15_000) {
  const end = Date.now() + limit;
  for (let last; ; ) {
    try {
      const got = await ask();
      if (got) return got;
    } catch (e) {
      last = e;
    }
    if (Date.now() > end) throw new Error(`${what}: not within ${limit / 1000} s${last ? ` (${last.message})` : ""}`);
    await sleep(50);
  }
}

// Program is a running program; what it says is kept.
export class Program {
  said = "";
  constructor(name, args, env = {}) {
    this.name = name;
    this.process = spawn(program(name), args, { env: { PATH: process.env.PATH, HOME: process.env.HOME, ...env }, stdio: ["pipe", "pipe", "pipe"] });
    this.ended = new Promise((done) => this.process.on("exit", (code, signal) => done(signal ?? code)));
    for (const out of [this.process.stdout, this.process.stderr]) out.on("data", (b) => (this.said += b));
  }
  async line(pattern, limit) {
    return (await until(`${this.name} says ${pattern}`, () => pattern.exec(this.said), limit).catch((e) => {
      throw new Error(`${e.message}; it said:\n${this.said}`);
    }));
  }
  tell(text) {
    this.process.stdin.write(`${text}\n`);
  }
  async stop(signal = "SIGTERM") {
    this.process.kill(signal);
    return this.ended;
  }
}

// Relay passes bytes on to a port, until its links are cut; while it is shut, none is made.
export class Relay {
  static async to(port) {
    const r = new Relay();
    r.port = port;
    r.links = new Set();
    r.shut = false;
    r.server = createServer((near) => {
      if (r.shut) return near.destroy();
      const far = connect(r.port, "127.0.0.1");
      for (const [a, b] of [[near, far], [far, near]]) {
        a.setNoDelay(true);
        r.links.add(a);
        a.on("data", (data) => b.write(data));
        a.on("close", () => {
          r.links.delete(a);
          b.destroy();
        });
        a.on("error", () => {});
      }
    });
    await new Promise((done) => r.server.listen(0, "127.0.0.1", done));
    r.at = r.server.address().port;
    return r;
  }
  cut() {
    for (const l of this.links) l.resetAndDestroy();
  }
  close() {
    this.cut();
    this.server.close();
  }
}

export class World {
  static async open() {
    const w = new World();
    w.dir = await mkdtemp(join(tmpdir(), "perch-page-"));
    w.programs = [];
    w.relays = [];
    w.state = join(w.dir, "state");
    await w.once("perch-broker", "init", "--state", w.state, "--url", "tls://localhost:7878");
    w.tokens = {};
    for (const [role, ...args] of [["device", "all", "--devices", "*"], ["viewer", "guest"], ["operator", "owner"]]) {
      const said = await w.once("perch-broker", "add", role, ...args, "--state", w.state);
      w.tokens[role] = /perch_[A-Z2-7]+/.exec(said)[0];
      await writeFile(join(w.dir, role), w.tokens[role], { mode: 0o600 });
    }
    await w.startBroker();
    return w;
  }

  async once(name, ...args) {
    const p = new Program(name, args);
    const code = await p.ended;
    if (code !== 0) throw new Error(`${name} ${args.join(" ")} ended with ${code}:\n${p.said}`);
    return p.said;
  }

  start(name, args, env) {
    const p = new Program(name, args, env);
    this.programs.push(p);
    return p;
  }

  async startBroker(tcp = 0, ws = 0) {
    this.broker = this.start("perch-broker", ["--state", this.state, "--listen", `tcp://127.0.0.1:${tcp}`, "--listen", `ws://127.0.0.1:${ws}`, "--page", "--session-time", "20s"]);
    this.tcp = Number((await this.broker.line(/url=tcp:\/\/127\.0\.0\.1:(\d+)/))[1]);
    this.ws = Number((await this.broker.line(/url=ws:\/\/127\.0\.0\.1:(\d+)/))[1]);
  }

  async agent(device, { cameras = "front=pattern,width=1280,height=720,fps=30", sensors = "", outputs = "", port = this.tcp } = {}) {
    const p = this.start("page-agent", [], {
      PERCH_BROKER: `tcp://127.0.0.1:${port}`,
      PERCH_TOKEN_FILE: join(this.dir, "device"),
      PERCH_DEVICE: device,
      PERCH_CAMERAS: cameras,
      PERCH_SENSORS: sensors,
      PERCH_OUTPUTS: outputs,
    });
    await until(`${device} is online`, () => this.broker.said.includes(`device=${device}`));
    return p;
  }

  // view is perch view, on a link that can be cut.
  async view(role) {
    const relay = await Relay.to(this.tcp);
    this.relays.push(relay);
    const p = this.start("perch", ["view", "--broker", `tcp://127.0.0.1:${relay.at}`, "--token-file", join(this.dir, role)]);
    const url = (await p.line(/(http:\S+#key=\S+)\n/))[1];
    return { program: p, relay, url, origin: new URL(url).origin };
  }

  async relay(port) {
    const r = await Relay.to(port);
    this.relays.push(r);
    return r;
  }

  async close() {
    for (const p of this.programs.reverse()) await p.stop();
    for (const r of this.relays) r.close();
    await rm(this.dir, { recursive: true, force: true });
  }
}

// openBrowser starts Debian's chromium, which may talk to nobody but the pages it is given.
export async function openBrowser(dir) {
  return chromium.launchPersistentContext(dir, {
    executablePath: "/usr/bin/chromium",
    headless: true,
    viewport: { width: 1440, height: 900 },
    args: ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
}

export { readFile, join };
