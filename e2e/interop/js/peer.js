// node peer.js ROLE URL [OPTION…]: rsocket-js as one end of the conversation that talk.go is the other end of.
//
// ROLE is client or server, URL tcp://HOST:PORT or ws://HOST:PORT. Options: resume, fragment=BYTES, keepalive=MS,
// lifetime=MS, dialect=alibaba (as a client). It says "ready" when it listens or has connected, then
// does what each line of its input says and answers with one line, "ok …" or "failed …":
//
//   talk                     everything a requester can ask of talk.go's responder
//   fetch SIZE               one response of SIZE bytes
//   watch TOTAL SIZE BATCH   a stream, asked for BATCH at a time
//   echo TOTAL SIZE BATCH    a channel that comes back
//   open SIZE N              an endless stream, N asked for; then
//   ask N                    N more of it
//   got                      how many have come
//   leave                    CANCEL
//   stats                    what its responder was asked, as JSON
//
// and, at a broker of Perch's devices or as one:
//
//   snapshot DEVICE          camera.snapshot: the picture's header, with "bytes" and "sha256" of the picture itself
//   pictures DEVICE COUNT BATCH OPTIONS   camera.stream, asked for BATCH at a time, then CANCEL: the list of such headers
//   setup                    the MIME types in the metadata of the last SETUP, as a server
const { createHash, randomBytes, randomUUID } = require("crypto");
const readline = require("readline");
const { RSocketConnector, RSocketServer } = require("rsocket-core");
const { CompositeMetadata, encodeCompositeMetadata, encodeRoutes, WellKnownMimeType } = require("rsocket-composite-metadata");
const { TcpClientTransport } = require("rsocket-tcp-client");
const { TcpServerTransport } = require("rsocket-tcp-server");
const { WebsocketClientTransport } = require("rsocket-websocket-client");
const { WebsocketServerTransport } = require("rsocket-websocket-server");
const WebSocket = require("ws");

const [role, where, ...options] = process.argv.slice(2);
const url = new URL(where);
const option = (name) => options.map((o) => o.split("=")).find(([key]) => key === name);
const number = (name, otherwise) => Number(option(name)?.[1] ?? otherwise);
const setup = {
  keepAlive: number("keepalive", 500),
  lifetime: number("lifetime", 20000),
  dataMimeType: "application/octet-stream",
  metadataMimeType: "message/x.rsocket.composite-metadata.v0",
};
const fragmentation = { maxOutboundFragmentSize: number("fragment", 0) };

// element is the i-th of a stream: its number, then bytes that depend on it, as in talk.go.
function element(i, size) {
  const b = Buffer.alloc(size);
  for (let k = 4; k < size; k++) b[k] = i + k;
  if (size >= 4) b.writeUInt32BE(i);
  return b;
}
const same = (b, i, size) => b !== undefined && b !== null && b.equals(element(i, size));
const assert = (ok, what) => {
  if (!ok) throw new Error(what);
};
const ignore = { cancel() {}, request() {}, onNext() {}, onComplete() {}, onError() {}, onExtension() {} };

// The responder.
const stats = { asked: 0, sent: 0, cancels: 0, responseCancels: 0, forgotten: "" };
const responder = {
  requestResponse(p, to) {
    const [verb, size] = String(p.data).split(" ");
    switch (verb) {
      case "size":
        to.onNext({ data: element(7, Number(size)) }, true);
        break;
      case "error":
        to.onError(new Error("no"));
        break;
      case "never":
        return { ...ignore, cancel: () => stats.responseCancels++ };
      default:
        to.onNext({ data: p.data, metadata: p.metadata }, true);
    }
    return ignore;
  },
  requestStream(p, n, to) {
    const [total, size] = String(p.data).split(" ").map(Number);
    let credit = n, sent = 0, over = false;
    Object.assign(stats, { asked: n, sent: 0 });
    const run = () => {
      while (credit > 0 && !over) {
        credit--;
        stats.sent = ++sent;
        over = sent === total;
        to.onNext({ data: element(sent - 1, size) }, over);
      }
    };
    setImmediate(run);
    return {
      ...ignore,
      request(more) {
        stats.asked += more;
        credit += more;
        run();
      },
      cancel() {
        over = true;
        stats.cancels++;
      },
    };
  },
  requestChannel(p, n, complete, to) { // what comes goes back, one for one
    let credit = n, ended = false;
    const queue = [p];
    const run = () => {
      while (credit > 0 && queue.length > 0) {
        credit--;
        to.onNext(queue.shift(), false);
        if (!complete) to.request(1);
      }
      if (complete && queue.length === 0 && !ended) {
        ended = true;
        to.onComplete();
      }
    };
    const end = () => {
      complete = true;
      run();
    };
    setImmediate(run);
    return {
      ...ignore,
      onNext(v, last) {
        queue.push(v);
        complete = complete || last;
        run();
      },
      onComplete: end,
      request(more) {
        credit += more;
        run();
      },
      cancel() {
        ended = true;
        stats.cancels++;
      },
    };
  },
  fireAndForget(p) {
    stats.forgotten = String(p.data);
    return ignore;
  },
};

// The requester.
const response = (rs, data, metadata) =>
  new Promise((onNext, onError) => rs.requestResponse({ data: Buffer.from(data), metadata }, { ...ignore, onNext, onError }));

function watch(rs, total, size, batch, stopAt) {
  return new Promise((done, fail) => {
    let n = 0, left = batch;
    const stream = rs.requestStream({ data: Buffer.from(`${total} ${size}`) }, batch, {
      ...ignore,
      onNext(p, last) {
        if (!same(p.data, n, size)) return fail(new Error(`element ${n} is not what was sent`));
        n++;
        if (last) return done(n);
        if (n === stopAt) {
          stream.cancel();
          return done(n);
        }
        if (--left === 0) {
          left = batch;
          setTimeout(() => stream.request(batch), 1);
        }
      },
      onComplete: () => done(n),
      onError: (e) => fail(new Error(`after ${n}: ${e.message}`)),
    });
  });
}

function echo(rs, total, size, batch) {
  return new Promise((done, fail) => {
    let n = 0, left = batch, sent = 0, credit = 0;
    const channel = rs.requestChannel({ data: element(0, size) }, batch, false, {
      ...ignore,
      onNext(p, last) {
        if (!same(p.data, n, size)) return fail(new Error(`echo ${n} is not what was sent`));
        n++;
        if (last) return done(n);
        if (--left === 0) {
          left = batch;
          setTimeout(() => channel.request(batch), 1);
        }
      },
      onComplete: () => done(n),
      onError: (e) => fail(new Error(`after ${n}: ${e.message}`)),
      request(more) {
        credit += more;
        for (; credit > 0 && sent < total; credit--) channel.onNext({ data: element(++sent, size) }, sent === total);
      },
    });
  });
}

async function talk(rs) {
  const big = Buffer.alloc(300000, 66);
  for (const [data, metadata] of [["hello", Buffer.from("md")], [big, big], [big, undefined]]) {
    const v = await response(rs, data, metadata);
    assert(v.data.equals(Buffer.from(data)), "the answer's data differ");
    assert(metadata === undefined || v.metadata.equals(metadata), "the answer's metadata differ");
  }
  const e = await response(rs, "error").catch((e) => e);
  assert(e.code === 0x204 && e.message === "no such camera", `the error came as ${e.code} ${e.message}`);
  for (const batch of [1, 3, 64, 0x7fffffff]) {
    assert((await watch(rs, 100, 20, batch)) === 100, `small stream, ${batch} at a time`);
    assert((await watch(rs, 20, 50000, batch)) === 20, `large stream, ${batch} at a time`);
  }
  assert((await watch(rs, 5, 10, 5)) === 5, "COMPLETE needs no further demand");
  assert((await watch(rs, 0, 100, 4, 10)) === 10, "cancel");
  for (const size of [10, 30000])
    for (const batch of [1, 4, 100]) assert((await echo(rs, 20, size, batch)) === 21, `channel of ${size}, ${batch} at a time`);
  rs.requestResponse({ data: Buffer.from("never") }, ignore).cancel();
  const never = rs.requestResponse({ data: Buffer.from("never") }, ignore);
  await new Promise((later) => setTimeout(later, 20));
  never.cancel();
  rs.fireAndForget({ data: Buffer.from("fire") }, ignore);
}

// address is the metadata of a request as a bare client writes it, or one of Alibaba's.
const alibaba = option("dialect")?.[1] === "alibaba";
const address = (route, device) =>
  encodeCompositeMetadata([[WellKnownMimeType.MESSAGE_RSOCKET_ROUTING, encodeRoutes(route, `${alibaba ? "e=device:" : "device="}${device}`)]]);
const nothing = alibaba ? "[]" : "{}"; // the data of a request without options
if (alibaba) {
  const app = { uuid: randomUUID(), name: "laptop", device: "laptop", topology: "intranet", metadata: {} };
  setup.payload = { metadata: encodeCompositeMetadata([["message/x.rsocket.application+json", Buffer.from(JSON.stringify(app))]]) };
}

// mimeType is that of an entry. rsocket-js has it elsewhere where it is spelled out.
const mimeType = (e) => e.mimeType ?? e.type;

// header is what a picture says of itself, and what its bytes are.
function header(p) {
  for (const e of new CompositeMetadata(p.metadata))
    if (mimeType(e) === "application/vnd.perch.frame.v1+json")
      return { ...JSON.parse(e.content), bytes: p.data.length, sha256: createHash("sha256").update(p.data).digest("hex") };
  throw new Error("the picture has no header");
}

async function snapshot(rs, device) {
  const p = await new Promise((onNext, onError) =>
    rs.requestResponse({ data: Buffer.from(nothing), metadata: address("camera.snapshot", device) }, { ...ignore, onNext, onError }));
  return JSON.stringify(header(p));
}

function pictures(rs, device, count, batch, options) {
  return new Promise((done, fail) => {
    const list = [];
    const stream = rs.requestStream({ data: Buffer.from(options), metadata: address("camera.stream", device) }, batch, {
      ...ignore,
      onNext(p) {
        list.push(header(p));
        if (list.length === count) {
          stream.cancel();
          done(JSON.stringify(list));
        } else if (list.length % batch === 0) {
          stream.request(batch);
        }
      },
      onComplete: () => fail(new Error("it completed")),
      onError: (e) => fail(new Error(`after ${list.length}: ${e.message}`)),
    });
  });
}

let opened = null, present = null, setups = "";
const commands = {
  talk,
  fetch: async (rs, size) => assert(same((await response(rs, `size ${size}`)).data, 7, size), "the response is not what was sent"),
  watch,
  echo,
  open: async (rs, size, n) => {
    opened = { got: 0, error: null };
    opened.stream = rs.requestStream({ data: Buffer.from(`0 ${size}`) }, n, {
      ...ignore,
      onNext(p) {
        if (!same(p.data, opened.got++, size)) opened.error = new Error("not what was sent");
      },
      onError: (e) => (opened.error = e),
    });
  },
  ask: async (rs, n) => opened.stream.request(n),
  got: async () => {
    if (opened.error) throw opened.error;
    return opened.got;
  },
  leave: async () => opened.stream.cancel(),
  stats: async () => JSON.stringify(stats),
  snapshot,
  pictures,
  setup: async () => setups,
};

async function obey(line) {
  const [name, ...args] = line.trim().split(" ");
  while (!present) await new Promise((later) => setTimeout(later, 5)); // the other side is about to connect
  try {
    console.log("ok", (await commands[name](present, ...args.map((a) => (isNaN(a) ? a : Number(a))))) ?? "");
  } catch (e) {
    console.log("failed", e.message);
  }
}

// meet makes the newest connection the one that commands are about.
function meet(rs) {
  present = rs;
  rs.onClose((e) => console.error("closed:", e?.message));
}

function ready() {
  readline.createInterface({ input: process.stdin }).on("line", obey).on("close", () => process.exit(0));
  console.log("ready");
}

(async () => {
  const resume = option("resume") && {
    tokenGenerator: () => Buffer.from(randomBytes(16).toString("hex")),
    reconnectFunction: () => new Promise((again) => setTimeout(again, 50)),
    sessionTimeout: 60000,
  };
  const tcp = { host: url.hostname, port: Number(url.port) };
  if (role === "client") {
    const transport =
      url.protocol === "ws:"
        ? new WebsocketClientTransport({ url: where, wsCreator: (u) => new WebSocket(u) })
        : new TcpClientTransport({ connectionOptions: { ...tcp, noDelay: true } }); // else each small frame waits for an ACK
    const rs = await new RSocketConnector({ transport, setup, fragmentation, resume, responder }).connect();
    meet(rs);
    ready();
    return;
  }
  const transport =
    url.protocol === "ws:"
      ? new WebsocketServerTransport({ wsCreator: () => new WebSocket.Server(tcp) })
      : new TcpServerTransport({ listenOptions: tcp });
  const accept = async (payload, rs) => {
    if (payload.metadata) setups = Array.from(new CompositeMetadata(payload.metadata), mimeType).join(" ");
    meet(rs);
    return responder;
  };
  await new RSocketServer({ transport, fragmentation, resume, acceptor: { accept } }).bind();
  ready();
})().catch((e) => {
  console.error(e);
  process.exit(1);
});
