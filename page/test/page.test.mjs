// The live page in a real browser, on a real broker and real agents.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir, readFile } from "node:fs/promises";
import { request } from "node:http";
import { createRequire } from "node:module";
import { after, before, describe, test } from "node:test";
import { artifacts, join, openBrowser, sleep, until, World } from "./world.mjs";

const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

let world, browser, view, hens;
const complaints = []; // of all pages: what is on their consoles, and what was thrown

before(async () => {
  await mkdir(artifacts, { recursive: true });
  world = await World.open();
  browser = await openBrowser(join(world.dir, "browser"));
  hens = await world.agent("hen-house", {
    cameras: "front=pattern,width=1280,height=720,fps=30,linger=500ms;back=pattern,width=640,height=480,fps=10,linger=500ms",
    sensors: "door=gpio:GPIO17,class=door;air=iio:bme280,every=1s",
    outputs: "lamp=gpio:GPIO22,max_on=60s;heater=gpio:GPIO23",
  });
  await world.agent("garden-shed");
  view = await world.view("operator");
});

after(async () => {
  await browser?.close();
  await world?.close();
});

// open opens a page, and takes note of whatever it complains of.
async function open(url, context = browser) {
  const page = await context.newPage();
  page.on("console", (m) => ["error", "warning"].includes(m.type()) && complaints.push(`${m.text()} (${m.location().url})`));
  page.on("pageerror", (e) => complaints.push(String(e.stack)));
  page.setDefaultTimeout(15_000);
  await page.goto(url);
  return page;
}

const tile = (page, device, camera = "front") => page.locator(`.tile[data-device="${device}"][data-camera="${camera}"]`);
const large = (page) => page.locator(".large");

// hash is what a canvas shows.
const hash = async (where) => createHash("sha256").update(await where.locator("canvas").evaluate((c) => c.toDataURL())).digest("hex");

// changes waits until a canvas has shown n pictures that differ.
async function changes(where, n = 3, limit) {
  const seen = new Set();
  await until(`${n} different pictures`, async () => seen.add(await hash(where)).size >= n, limit);
}

// shows waits until a text is there, and says what is there instead.
async function shows(where, pattern, limit) {
  let text;
  await until(`it shows ${pattern}`, async () => pattern.test((text = await where.textContent())), limit).catch((e) => {
    throw new Error(`${e.message}; it shows ${JSON.stringify(text)}`);
  });
}

// enter opens the page of perch view with a fresh address.
async function enter(v = view, context = browser) {
  const links = [...v.program.said.matchAll(/(http:\S+#key=\S+)/g)].map((m) => m[1]);
  const page = await open(links.at(-1), context);
  await page.locator(".tile.painted").first().waitFor();
  await until("the next address is printed", () => [...v.program.said.matchAll(/#key=/g)].length > links.length);
  return page;
}

// accessible runs axe on what a page shows. It is brought in by the debugger: the page's policy keeps others' scripts out.
async function accessible(page, what) {
  await page.evaluate(axe);
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ["violations"] }));
  assert.deepEqual(violations.map((v) => `${v.id}: ${v.nodes.map((n) => `${n.html} ${n.failureSummary}`).join("; ")}`), [], what);
}

describe("the page of perch view", () => {
  let page;
  before(async () => {
    page = await enter();
  });
  after(() => page.close());

  test("shows all cameras, live", async () => {
    await tile(page, "garden-shed").and(page.locator(".painted")).waitFor();
    assert.equal(await page.locator(".tile").count(), 3);
    await changes(tile(page, "hen-house"));
    await changes(tile(page, "hen-house", "back"));
    await changes(tile(page, "garden-shed"));
    await shows(tile(page, "garden-shed").locator(".age"), /^\d\.\d s$/);
    assert.equal(new URL(page.url()).hash, "", "the secret stays in the address");
    assert.equal(await page.locator(".count").textContent(), "2 devices");
    await page.screenshot({ path: join(artifacts, "desktop.png") });
    await accessible(page, "the grid");
  });

  test("what it shows of ages is true", async () => {
    // Browser, agent and this test share one clock.
    const t = tile(page, "garden-shed");
    for (let i = 0; i < 10; i++) {
      const [shown, true_] = await t.evaluate((e) => [parseFloat(e.querySelector(".age").textContent) * 1000, Date.now() - Date.parse(e.dataset.at)]);
      assert.ok(Math.abs(shown - true_) < 600, `it says ${shown} ms, and it is ${true_} ms`); // it is brought up to date four times a second
      await sleep(100);
    }
  });

  test("shows sensors as they change", async () => {
    hens.tell("door on");
    hens.tell("air 19.5 61");
    const values = tile(page, "hen-house").locator(".values");
    await shows(values, /door on.*19\.5 °C.*61 %/);
    hens.tell("door off");
    await shows(values, /door off/);
  });

  test("a device joins, leaves and comes back, without a reload", async () => {
    let letters = await world.agent("letter-box", { cameras: "front=pattern,width=640,height=360,fps=10" });
    const t = tile(page, "letter-box");
    await changes(t);
    await letters.stop();
    await until("it is greyed out", async () => (await t.getAttribute("data-state")) === "left" && /grayscale/.test(await t.locator("canvas").evaluate((c) => getComputedStyle(c).filter)));
    assert.match(await t.locator(".age").textContent(), /^left at /);
    letters = await world.agent("letter-box", { cameras: "front=pattern,width=640,height=360,fps=10" });
    await until("it is back", async () => (await t.getAttribute("data-state")) === "online");
    await changes(t);
    await letters.stop("SIGKILL");
    await until("it is away", async () => (await t.getAttribute("data-state")) === "away");
    assert.match(await t.locator(".age").textContent(), /^away since /);
    letters = await world.agent("letter-box", { cameras: "front=pattern,width=640,height=360,fps=10" });
    await until("it is back again", async () => (await t.getAttribute("data-state")) === "online");
    await changes(t);
    await letters.stop();
  });

  test("goes by keys", async () => {
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("ArrowRight");
    const focused = () => page.evaluate(() => document.activeElement.getAttribute("href"));
    assert.equal(await focused(), "#/hen-house/front");
    await page.keyboard.press("Enter");
    await large(page).waitFor();
    assert.equal(await page.title(), "hen-house – Perch");
    await page.keyboard.press("ArrowRight");
    await page.locator('.large[data-camera="back"]').waitFor();
    await page.keyboard.press("Escape");
    await large(page).waitFor({ state: "detached" });
    await until("the focus is back", async () => (await focused()) === "#/hen-house/back");
    await page.keyboard.press("ArrowLeft");
    assert.equal(await focused(), "#/hen-house/front");
    await page.keyboard.press("?");
    await page.locator("dialog[open]").waitFor();
    await accessible(page, "the help");
    await page.keyboard.press("Escape");
    await page.locator("dialog[open]").waitFor({ state: "detached" });
  });

  test("one camera large: picture, age, rate, sensors, choices", async () => {
    await tile(page, "hen-house").locator("a").click();
    await changes(large(page));
    await shows(page.locator(".facts"), /^1280 × 720 {2}· {2}[\d.]+ fps {2}· {2}\d\.\d s old$/);
    for (let i = 0; i < 8; i++) {
      hens.tell(`air ${(19.5 + Math.sin(i)).toFixed(2)} ${60 + i}`);
      hens.tell(`door ${i % 3 ? "off" : "on"}`);
      await sleep(600);
    }
    const air = page.locator('.reading[data-sensor="air"]').first();
    assert.match(await air.locator(".value").textContent(), /^\d\d\.\d °C$/);
    assert.ok((await air.locator(".line").getAttribute("d")).split("L").length > 3, "the plot has points");
    await page.locator('[data-option="width"]').selectOption("640");
    await shows(page.locator(".facts"), /^640 × 360/);
    await page.locator('[data-option="fps"]').selectOption("2");
    await shows(page.locator(".facts"), /· {2}(1\.\d|2\.[0-3]) fps/);
    await page.locator('[data-option="width"]').selectOption("0");
    await page.locator('[data-option="fps"]').selectOption("0");
    await shows(page.locator(".facts"), /^1280 × 720/);
    await accessible(page, "one camera");
    await page.screenshot({ path: join(artifacts, "desktop-large.png") });
  });

  test("the picture can be saved", async () => {
    const [download] = await Promise.all([page.waitForEvent("download"), page.locator(".save").click()]);
    assert.match(download.suggestedFilename(), /^hen-house_front_\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.jpg$/);
    const file = await readFile(await download.path());
    assert.equal(file.subarray(0, 3).toString("hex"), "ffd8ff");
    assert.ok(file.length > 10_000, `${file.length} bytes`);
  });

  test("a camera's controls reach it, and texts of a device are texts", async () => {
    const knob = page.locator('[data-control="brightness"] input');
    await knob.fill("12");
    await hens.line(/control brightness 12\n/);
    assert.equal(await page.locator('[data-control="brightness"] output').textContent(), "12");
    await page.locator('[data-control="white_balance_automatic"] button').click();
    await hens.line(/control white_balance_automatic 0\n/);
    await until("it shows what is in force", async () => (await page.locator('[data-control="white_balance_automatic"] button').getAttribute("aria-checked")) === "false");
    const menu = page.locator('[data-control="power_line_frequency"] select');
    await menu.selectOption("2");
    await hens.line(/control power_line_frequency 2\n/);
    assert.match(await menu.textContent(), /<img src=x onerror=/, "the name of a menu's item is shown as it is");
    hens.tell('break <img src=x onerror="window.injected=1"><script>window.injected=2</script>');
    await shows(page.locator(".readings"), /<img src=x onerror=/);
    hens.tell("air 20 50");
    assert.equal(await page.evaluate(() => window.injected), undefined);
    assert.equal(await page.locator("img").count(), 0);
  });

  test("a switch reaches the device", async () => {
    const lamp = page.locator('[data-output="lamp"]');
    assert.equal(await lamp.getAttribute("aria-checked"), "false");
    await lamp.click();
    await hens.line(/output GPIO22 on\n/);
    await shows(lamp.locator("..").locator(".hint"), /^until /);
    assert.equal(await lamp.getAttribute("aria-checked"), "true");
    await world.once("perch", "set", "hen-house", "lamp", "off", "--broker", `tcp://127.0.0.1:${world.tcp}`, "--token-file", join(world.dir, "operator"));
    await until("it is seen that somebody else has switched it off", async () => (await lamp.getAttribute("aria-checked")) === "false");
  });

  test("the laptop's link is cut: it goes on, without a reload", async () => {
    await page.evaluate(() => (window.before = true));
    view.relay.cut();
    await changes(large(page));
    view.relay.shut = true;
    view.relay.cut();
    await shows(page.locator(".banner"), /link to the broker is lost/);
    await until("the picture is marked as old", async () => (await large(page).getAttribute("data-late")) !== null);
    view.relay.shut = false;
    await until("it says nothing more", async () => (await page.locator(".banner").textContent()) === "");
    await changes(large(page));
    await until("the picture is new", async () => Date.now() - Date.parse(await large(page).getAttribute("data-at")) < 1000);
    assert.equal(await page.evaluate(() => window.before), true, "the page was loaded anew");
  });

  test("the broker is started anew: it goes on, without a reload", async () => {
    const { tcp, ws } = world;
    await world.broker.stop();
    await world.startBroker(tcp, ws);
    await until("the agents are back", () => world.broker.said.includes("device=hen-house"), 40_000);
    await changes(large(page), 3, 40_000);
    assert.equal(await page.evaluate(() => window.before), true, "the page was loaded anew");
  });

  test("on a phone, and in the dark", async () => {
    await page.emulateMedia({ colorScheme: "dark" });
    await page.screenshot({ path: join(artifacts, "dark-large.png") });
    await accessible(page, "one camera, dark");
    await page.setViewportSize({ width: 390, height: 844 });
    await sleep(300);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "it is wider than the phone");
    await page.screenshot({ path: join(artifacts, "phone-dark-large.png"), fullPage: true });
    await page.emulateMedia({ colorScheme: "light" });
    await page.screenshot({ path: join(artifacts, "phone-large.png"), fullPage: true });
    await page.locator(".back").click();
    await changes(tile(page, "garden-shed"));
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "it is wider than the phone");
    await page.screenshot({ path: join(artifacts, "phone.png") });
    await accessible(page, "the grid on a phone");
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.emulateMedia({ colorScheme: "dark" });
    await until("the pictures are there", async () => (await page.locator(".tile.painted:not([data-late])").count()) >= 3);
    await page.screenshot({ path: join(artifacts, "dark.png") });
    await accessible(page, "the grid, dark");
  });

  test("what cannot be seen costs nothing", async () => {
    const viewers = async (device) => {
      const said = await world.once("perch", "cameras", device, "--json", "--broker", `tcp://127.0.0.1:${world.tcp}`, "--token-file", join(world.dir, "operator"));
      return JSON.parse(said).cameras.map((c) => c.viewers);
    };
    await until("both cameras are watched in the grid", async () => (await viewers("hen-house")).join() === "1,1");
    await tile(page, "garden-shed").locator("a").click();
    await until("of another device none is, while one is large", async () => (await viewers("hen-house")).join() === "0,0");
    assert.deepEqual(await viewers("garden-shed"), [1]);
    await page.evaluate(() => {
      Object.defineProperty(document, "visibilityState", { configurable: true, get: () => "hidden" });
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await until("nor is this one, when the page is hidden", async () => (await viewers("garden-shed")).join() === "0");
    await page.evaluate(() => {
      delete document.visibilityState;
      document.dispatchEvent(new Event("visibilitychange"));
    });
    await changes(large(page));
  });
});

test("a viewer that draws 2 pictures a second sees none older than a second", async () => {
  const page = await browser.newPage();
  await page.addInitScript(() => {
    const draw = window.createImageBitmap.bind(window);
    window.createImageBitmap = async (...args) => {
      const bitmap = await draw(...args);
      await new Promise((done) => setTimeout(done, 480));
      return bitmap;
    };
  });
  await page.goto([...view.program.said.matchAll(/(http:\S+#key=\S+)/g)].at(-1)[1]);
  await tile(page, "garden-shed").and(page.locator(".painted")).waitFor();
  await tile(page, "garden-shed").locator("a").click();
  await large(page).and(page.locator("[data-at]")).waitFor();
  await sleep(3000);
  const ages = [];
  const seen = new Set();
  for (const end = Date.now() + 8000; Date.now() < end; await sleep(40)) {
    const [age, seq] = await large(page).evaluate((e) => [Date.now() - Date.parse(e.dataset.at), e.dataset.seq]);
    if (!seen.has(seq)) ages.push(age); // as it is shown first
    seen.add(seq);
  }
  const rate = (seen.size - 1) / 8;
  console.log(`slow viewer: ${rate.toFixed(1)} pictures a second, ${Math.min(...ages)} to ${Math.max(...ages)} ms old when first seen`);
  assert.ok(rate > 0.8 && rate < 2.6, `it draws ${rate} a second`);
  assert.ok(Math.max(...ages) < 1000, `a picture was ${Math.max(...ages)} ms old when it was shown`);
  await page.close();
});

describe("safety", () => {
  // ask makes a request that no browser would make.
  const ask = (origin, path, { method = "GET", body, headers = {} } = {}) =>
    new Promise((done, fail) => {
      const url = new URL(path, origin);
      const r = request({ host: url.hostname, port: url.port, path: url.pathname, method, headers: { host: url.host, ...headers } }, (res) => {
        let text = "";
        res.on("data", (b) => (text += b));
        res.on("end", () => done({ status: res.statusCode, headers: res.headers, text }));
      });
      r.on("upgrade", (res, socket) => {
        socket.destroy();
        done({ status: res.statusCode, headers: res.headers, text: "" });
      });
      r.on("error", fail);
      r.end(body);
    });
  const upgrade = { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==" };
  const socketOf = async (origin) => /data-socket="([^"]+)"/.exec((await ask(origin, "/")).text)[1];

  test("perch view: only this address, only this page, only this browser, and once", async () => {
    const { origin } = view;
    const socket = await socketOf(origin);
    const secret = /#key=(\S+)\s*$/.exec(view.program.said)[1];
    const enter = (headers) => ask(origin, `${socket}/session`, { method: "POST", body: secret, headers });
    assert.equal((await ask(origin, "/", { headers: { host: "evil.example" } })).status, 421, "a rebound name");
    assert.equal((await ask(origin, "/", { headers: { host: `evil.example:${new URL(origin).port}` } })).status, 421, "a rebound name and the port");
    assert.equal((await enter({ origin: "http://evil.example" })).status, 403, "another page takes the secret");
    assert.equal((await enter({})).status, 403, "no page takes the secret");
    assert.equal((await ask(origin, `${socket}/session`, { method: "POST", body: "x".repeat(52), headers: { origin } })).status, 403, "a wrong secret");
    const good = await enter({ origin });
    assert.equal(good.status, 204);
    const [cookie] = good.headers["set-cookie"];
    assert.match(cookie, /; HttpOnly/);
    assert.match(cookie, /; SameSite=Strict/);
    assert.ok(cookie.includes(`Path=${socket}`));
    assert.equal((await enter({ origin })).status, 403, "a second time");
    const has = { cookie: cookie.split(";")[0] };
    assert.equal((await ask(origin, socket, { headers: { ...upgrade, origin } })).status, 401, "without a cookie");
    assert.equal((await ask(origin, socket, { headers: { ...upgrade, ...has, origin: "http://evil.example" } })).status, 403, "another page, with the cookie");
    assert.equal((await ask(origin, socket, { headers: { ...upgrade, ...has, origin: "null" } })).status, 403, "a page of nowhere, with the cookie");
    assert.equal((await ask(origin, socket, { headers: { ...upgrade, ...has } })).status, 403, "no page, with the cookie");
    assert.equal((await ask(origin, socket, { headers: { ...upgrade, ...has, origin, host: "evil.example" } })).status, 421, "a rebound name, with the cookie");
    assert.equal((await ask(origin, socket, { headers: { ...upgrade, ...has, origin } })).status, 101, "the page itself");
  });

  test("a foreign page in the same browser gets nothing", async () => {
    const { createServer } = await import("node:http");
    const foreign = createServer((_, res) => res.setHeader("content-type", "text/html").end("<!doctype html><title>foreign</title>"));
    await new Promise((done) => foreign.listen(0, "127.0.0.1", done));
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${foreign.address().port}/`);
    const socket = await socketOf(view.origin);
    const tried = (url) =>
      page.evaluate((url) => new Promise((done) => {
        const ws = new WebSocket(url);
        ws.onopen = () => done("open");
        ws.onerror = () => done("refused");
      }), url);
    assert.equal(await tried(view.origin.replace("http", "ws") + socket), "refused");
    assert.equal(await tried(`ws://127.0.0.1:${world.ws}/`), "refused");
    assert.equal(await page.evaluate((url) => new Promise((done) => {
      const f = document.createElement("iframe");
      f.onload = () => { try { done(f.contentDocument ? "seen" : "blocked"); } catch { done("blocked"); } };
      f.src = url;
      document.body.append(f);
    }), view.origin), "blocked");
    await page.close();
    foreign.close();
  });

  test("both servers' headers let nothing else in", async () => {
    for (const origin of [view.origin, `http://127.0.0.1:${world.ws}`]) {
      for (const path of ["/", "/page.js", "/page.css", "/nothing"]) {
        const { headers } = await ask(origin, path);
        const policy = headers["content-security-policy"];
        for (const part of ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'", "require-trusted-types-for 'script'"]) assert.ok(policy?.includes(part), `${origin}${path}: ${policy}`);
        assert.ok(!/unsafe/.test(policy));
        assert.equal(headers["referrer-policy"], "no-referrer");
        assert.equal(headers["x-content-type-options"], "nosniff");
      }
    }
    const broker = `http://127.0.0.1:${world.ws}`;
    assert.notEqual((await ask(broker, "/", { headers: { host: "evil.example" } })).status, 200, "a rebound name");
    assert.equal((await ask(broker, "/", { headers: { ...upgrade, origin: "http://evil.example" } })).status, 403, "another page");
  });

  test("a browser that was not let in is told what it needs", async () => {
    const page = await browser.newPage();
    await page.context().clearCookies();
    await page.goto(view.origin);
    await page.locator(".gate:not([hidden]) h1").waitFor();
    assert.match(await page.locator(".gate").textContent(), /perch view/);
    await accessible(page, "the closed door");
    await page.close();
  });
});

// A broker of ours refuses such names. The page does not build on that: on the way to this one, garden-shed is renamed.
test("names cannot inject, whatever the broker lets through", async () => {
  const evil = "<img src=x>"; // as long as the name
  const page = await browser.newPage();
  page.on("pageerror", (e) => complaints.push(String(e.stack)));
  await page.routeWebSocket(/socket-/, (ws) => {
    const server = ws.connectToServer();
    ws.onMessage((m) => server.send(m));
    server.onMessage((m) => ws.send(typeof m === "string" ? m : Buffer.from(Buffer.from(m).toString("latin1").replaceAll("garden-shed", evil), "latin1")));
  });
  await page.goto([...view.program.said.matchAll(/(http:\S+#key=\S+)/g)].at(-1)[1]);
  const bad = page.locator(".tile .name", { hasText: evil });
  await bad.waitFor();
  assert.equal(await bad.textContent(), evil);
  await bad.click();
  await large(page).waitFor();
  assert.equal(await page.locator(".large h1").textContent(), evil);
  assert.equal(await page.locator("img, script:not([src])").count(), 0);
  await page.close();
});

describe("the broker's own page", () => {
  test("a viewer sees pictures and no switches; its token is in memory only; a cut link recovers without a reload", async () => {
    const relay = await world.relay(world.ws);
    const page = await open(`http://127.0.0.1:${relay.at}/`);
    const token = page.locator("#token");
    await token.waitFor();
    await accessible(page, "who is looking");
    await page.screenshot({ path: join(artifacts, "token.png") });
    await token.fill("perch_WRONG");
    await token.press("Enter");
    await page.locator(".gate .error").waitFor();
    await token.fill(world.tokens.viewer);
    await token.press("Enter");
    await changes(tile(page, "hen-house"));
    const kept = await page.evaluate(() => [JSON.stringify(localStorage), JSON.stringify(sessionStorage), document.cookie, location.href, document.documentElement.outerHTML].join());
    assert.ok(!kept.includes(world.tokens.viewer), "the token is kept somewhere");

    await tile(page, "hen-house").locator("a").click();
    await changes(large(page));
    await page.locator('.reading[data-sensor="air"]').first().waitFor();
    await until("the camera is described", async () => (await large(page).textContent()).includes("Test pattern"));
    assert.equal(await page.locator('[role="switch"]:visible').count(), 0);
    assert.equal(await page.locator("[data-output], [data-control]").count(), 0);

    await page.evaluate(() => (window.before = true));
    relay.cut();
    await changes(large(page));
    relay.shut = true;
    relay.cut();
    await shows(page.locator(".banner"), /connection is lost/);
    await sleep(1500);
    relay.shut = false;
    await changes(large(page));
    assert.equal(await page.locator(".banner").textContent(), "");
    assert.equal(await page.evaluate(() => window.before), true, "the page was loaded anew");
    await page.reload();
    await page.locator("#token").waitFor();
    await page.close();
  });
});

test("no page has complained", () => {
  // A browser itself writes down each connection that it could not make, such as those to what was shut here.
  const own = complaints.filter((c) => !/WebSocket connection to 'ws:\/\/127\.0\.0\.1:\d+\/' failed/.test(c));
  assert.deepEqual(own, []);
});
