import static java.nio.charset.StandardCharsets.UTF_8;

import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufAllocator;
import io.netty.buffer.ByteBufUtil;
import io.netty.buffer.CompositeByteBuf;
import io.netty.buffer.Unpooled;
import io.rsocket.ConnectionSetupPayload;
import io.rsocket.Payload;
import io.rsocket.RSocket;
import io.rsocket.SocketAcceptor;
import io.rsocket.core.RSocketConnector;
import io.rsocket.core.RSocketServer;
import io.rsocket.core.Resume;
import io.rsocket.metadata.CompositeMetadata;
import io.rsocket.metadata.CompositeMetadataCodec;
import io.rsocket.metadata.TaggingMetadataCodec;
import io.rsocket.metadata.WellKnownMimeType;
import io.rsocket.resume.InMemoryResumableFramesStore;
import io.rsocket.transport.ClientTransport;
import io.rsocket.transport.ServerTransport;
import io.rsocket.transport.netty.client.TcpClientTransport;
import io.rsocket.transport.netty.client.WebsocketClientTransport;
import io.rsocket.transport.netty.server.TcpServerTransport;
import io.rsocket.transport.netty.server.WebsocketServerTransport;
import io.rsocket.util.DefaultPayload;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.URI;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.reactivestreams.Publisher;
import org.reactivestreams.Subscription;
import reactor.core.publisher.BaseSubscriber;
import reactor.core.publisher.Flux;
import reactor.core.publisher.Mono;
import reactor.util.retry.Retry;

/**
 * rsocket-java as one end of the conversation that talk.go is the other end of. Arguments, commands and answers are those of
 * js/peer.js.
 */
class Peer implements RSocket {
  static final long PATIENCE = 50; // seconds for one command

  private final List<String> options;
  private volatile RSocket present; // the newest connection
  private volatile String setups = "";
  private volatile Watch opened;

  private volatile long asked, sent, cancels, responseCancels;
  private volatile String forgotten = "";

  Peer(List<String> options) {
    this.options = options;
  }

  public static void main(String[] args) throws Exception {
    new Peer(List.of(args).subList(2, args.length)).run(args[0], URI.create(args[1]));
  }

  void run(String role, URI url) throws Exception {
    if (role.equals("client")) {
      RSocketConnector c = RSocketConnector.create()
          .metadataMimeType(WellKnownMimeType.MESSAGE_RSOCKET_COMPOSITE_METADATA.getString())
          .dataMimeType("application/octet-stream")
          .keepAlive(Duration.ofMillis(number("keepalive", 500)), Duration.ofMillis(number("lifetime", 20000)))
          .fragment((int) number("fragment", 0))
          .acceptor(SocketAcceptor.with(this));
      Payload setup = setup();
      if (setup != null) c.setupPayload(setup);
      if (options.contains("resume")) c.resume(resume());
      ClientTransport t = url.getScheme().equals("ws") ? WebsocketClientTransport.create(url) : TcpClientTransport.create(url.getHost(), url.getPort());
      present = c.connect(t).block();
    } else {
      RSocketServer s = RSocketServer.create(this::accept).fragment((int) number("fragment", 0));
      if (options.contains("resume")) s.resume(resume());
      ServerTransport<?> t = url.getScheme().equals("ws")
          ? WebsocketServerTransport.create(url.getHost(), url.getPort())
          : TcpServerTransport.create(url.getHost(), url.getPort());
      s.bind(t).block();
    }
    System.out.println("ready");
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
    for (String line; (line = in.readLine()) != null; ) {
      try {
        System.out.println("ok " + obey(line.trim().split(" ")));
      } catch (Throwable e) {
        System.out.println("failed " + String.valueOf(e.getMessage()).replace('\n', ' '));
      }
    }
    System.exit(0);
  }

  private long number(String name, long otherwise) {
    for (String o : options) if (o.startsWith(name + "=")) return Long.parseLong(o.substring(name.length() + 1));
    return otherwise;
  }

  /** The store's default of 100,000 bytes does not hold what is on its way within a picture. */
  private static Resume resume() {
    return new Resume()
        .sessionDuration(Duration.ofMinutes(1))
        .cleanupStoreOnKeepAlive()
        .storeFactory(token -> new InMemoryResumableFramesStore("peer", token, 64 << 20))
        .retry(Retry.fixedDelay(1000, Duration.ofMillis(50)));
  }

  Mono<RSocket> accept(ConnectionSetupPayload setup, RSocket rs) {
    List<String> types = new ArrayList<>();
    if (setup.hasMetadata()) for (CompositeMetadata.Entry e : new CompositeMetadata(setup.metadata(), false)) types.add(e.getMimeType());
    setups = String.join(" ", types);
    present = rs;
    return Mono.just(this);
  }

  String obey(String[] a) throws Exception {
    while (present == null) Thread.sleep(5); // the other side is about to connect
    switch (a[0]) {
      case "talk":
        talk();
        return "";
      case "fetch":
        check(same(wait(present.requestResponse(payload("size " + a[1]))), 7, Integer.parseInt(a[1])), "the response is not what was sent");
        return "";
      case "watch":
        return "" + watch(num(a[1]), num(a[2]), num(a[3]), -1);
      case "echo":
        return "" + echo(num(a[1]), num(a[2]), num(a[3]));
      case "open":
        opened = new Watch(num(a[1]), num(a[2]), -1, true);
        present.requestStream(payload("0 " + a[1])).subscribe(opened);
        return "";
      case "ask":
        opened.request(num(a[1]));
        return "";
      case "got":
        if (opened.done.isDone()) opened.done.get();
        return "" + opened.n;
      case "leave":
        opened.cancel();
        return "";
      case "stats":
        return String.format("{\"asked\":%d,\"sent\":%d,\"cancels\":%d,\"responseCancels\":%d,\"forgotten\":\"%s\"}", asked, sent, cancels, responseCancels, forgotten);
      case "snapshot":
        return header(wait(present.requestResponse(DefaultPayload.create(text("{}"), address("camera.snapshot", a[1])))));
      case "pictures":
        Pictures p = new Pictures(num(a[2]), num(a[3]));
        present.requestStream(DefaultPayload.create(text(a[4]), address("camera.stream", a[1]))).subscribe(p);
        return p.done.get(PATIENCE, TimeUnit.SECONDS);
      case "setup":
        return setups;
    }
    throw new IllegalArgumentException("unknown command " + a[0]);
  }

  // What depends on the broker's dialect: here a bare client's.

  /** What SETUP says; null is nothing. */
  Payload setup() {
    return null;
  }

  /** The metadata of a request. */
  ByteBuf address(String route, String device) {
    CompositeByteBuf metadata = ByteBufAllocator.DEFAULT.compositeBuffer();
    route(metadata, List.of(route, "device=" + device));
    return metadata;
  }

  static void route(CompositeByteBuf metadata, List<String> tags) {
    ByteBuf routing = TaggingMetadataCodec.createRoutingMetadata(ByteBufAllocator.DEFAULT, tags).getContent();
    CompositeMetadataCodec.encodeAndAddMetadata(metadata, ByteBufAllocator.DEFAULT, WellKnownMimeType.MESSAGE_RSOCKET_ROUTING, routing);
  }

  // The responder.

  @Override
  public Mono<Payload> requestResponse(Payload p) {
    String verb = p.getDataUtf8().split(" ")[0];
    if (verb.equals("size")) return Mono.just(element(7, num(p.getDataUtf8().split(" ")[1])));
    if (verb.equals("error")) return Mono.error(new RuntimeException("no"));
    if (verb.equals("never")) return Mono.<Payload>never().doOnCancel(() -> responseCancels++);
    return Mono.just(DefaultPayload.create(p));
  }

  @Override
  public Flux<Payload> requestStream(Payload p) {
    String[] a = p.getDataUtf8().split(" ");
    int total = num(a[0]), size = num(a[1]);
    asked = sent = 0;
    return Flux.<Payload, Integer>generate(() -> 0, (i, to) -> {
      to.next(element(i, size));
      if (++i == total) to.complete();
      return i;
    }).doOnRequest(n -> asked += n).doOnNext(v -> sent++).doOnCancel(() -> cancels++);
  }

  @Override
  public Flux<Payload> requestChannel(Publisher<Payload> in) {
    return Flux.from(in).map(DefaultPayload::create);
  }

  @Override
  public Mono<Void> fireAndForget(Payload p) {
    forgotten = p.getDataUtf8();
    return Mono.empty();
  }

  // The requester.

  void talk() throws Exception {
    String big = "B".repeat(300_000);
    for (String[] v : new String[][] {{"hello", "md"}, {big, big}, {big, null}}) {
      Payload got = wait(present.requestResponse(DefaultPayload.create(v[0], v[1])));
      check(got.getDataUtf8().equals(v[0]), "the answer's data differ");
      check(v[1] == null || got.getMetadataUtf8().equals(v[1]), "the answer's metadata differ");
    }
    try {
      wait(present.requestResponse(payload("error")));
      check(false, "the error did not come");
    } catch (io.rsocket.exceptions.InvalidException e) {
      check(e.getMessage().equals("no such camera"), "the error came as " + e);
    }
    for (int batch : new int[] {1, 3, 64, Integer.MAX_VALUE}) {
      check(watch(100, 20, batch, -1) == 100, "small stream, " + batch + " at a time");
      check(watch(20, 50_000, batch, -1) == 20, "large stream, " + batch + " at a time");
    }
    check(watch(5, 10, 5, -1) == 5, "COMPLETE needs no further demand");
    check(watch(0, 100, 4, 10) == 10, "cancel");
    for (int size : new int[] {10, 30_000})
      for (int batch : new int[] {1, 4, 100}) check(echo(20, size, batch) == 21, "channel of " + size + ", " + batch + " at a time");
    reactor.core.Disposable never = present.requestResponse(payload("never")).subscribe();
    Thread.sleep(50);
    never.dispose();
    wait(present.fireAndForget(payload("fire")));
  }

  private int watch(int total, int size, int batch, int stopAt) throws Exception {
    Watch w = new Watch(size, batch, stopAt, false);
    present.requestStream(payload(total + " " + size)).subscribe(w);
    return w.done.get(PATIENCE, TimeUnit.SECONDS);
  }

  private int echo(int total, int size, int batch) throws Exception {
    Watch w = new Watch(size, batch, -1, false);
    present.requestChannel(Flux.range(0, total + 1).map(i -> element(i, size))).subscribe(w);
    return w.done.get(PATIENCE, TimeUnit.SECONDS);
  }

  /** Takes a stream of elements, batch at a time; held does not ask for more by itself. */
  private static class Watch extends BaseSubscriber<Payload> {
    final CompletableFuture<Integer> done = new CompletableFuture<>();
    final int size, batch, stopAt;
    final boolean held;
    volatile int n;

    Watch(int size, int batch, int stopAt, boolean held) {
      this.size = size;
      this.batch = batch;
      this.stopAt = stopAt;
      this.held = held;
    }

    @Override
    protected void hookOnSubscribe(Subscription s) {
      s.request(batch);
    }

    @Override
    protected void hookOnNext(Payload p) {
      if (!same(p, n, size)) done.completeExceptionally(new Exception("element " + n + " is not what was sent"));
      n++;
      if (n == stopAt) {
        cancel();
        done.complete(n);
      } else if (!held && n % batch == 0) {
        request(batch);
      }
    }

    @Override
    protected void hookOnComplete() {
      done.complete(n);
    }

    @Override
    protected void hookOnError(Throwable e) {
      done.completeExceptionally(new Exception("after " + n + ": " + e.getMessage()));
    }
  }

  /** Takes count pictures, batch at a time, and leaves. */
  private static class Pictures extends BaseSubscriber<Payload> {
    final CompletableFuture<String> done = new CompletableFuture<>();
    final List<String> list = new ArrayList<>();
    final int count, batch;

    Pictures(int count, int batch) {
      this.count = count;
      this.batch = batch;
    }

    @Override
    protected void hookOnSubscribe(Subscription s) {
      s.request(batch);
    }

    @Override
    protected void hookOnNext(Payload p) {
      list.add(header(p));
      if (list.size() == count) {
        cancel();
        done.complete(list.toString());
      } else if (list.size() % batch == 0) {
        request(batch);
      }
    }

    @Override
    protected void hookOnError(Throwable e) {
      done.completeExceptionally(new Exception("after " + list.size() + ": " + e.getMessage()));
    }
  }

  /** What a picture says of itself, and what its bytes are. */
  static String header(Payload p) {
    ByteBuf b = p.sliceData();
    for (CompositeMetadata.Entry e : new CompositeMetadata(p.sliceMetadata(), false))
      if ("application/vnd.perch.frame.v1+json".equals(e.getMimeType())) {
        String json = e.getContent().toString(UTF_8);
        return json.substring(0, json.length() - 1)
            + String.format(",\"bytes\":%d,\"sha256\":\"%s\"}", b.readableBytes(), sha256(ByteBufUtil.getBytes(b)));
      }
    throw new IllegalStateException("the picture has no header");
  }

  static String sha256(byte[] b) {
    try {
      return ByteBufUtil.hexDump(MessageDigest.getInstance("SHA-256").digest(b));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  static Payload element(int i, int size) {
    byte[] b = new byte[size];
    for (int k = 0; k < size; k++) b[k] = (byte) (i + k);
    if (size >= 4) for (int k = 0; k < 4; k++) b[k] = (byte) (i >> 24 - 8 * k);
    return DefaultPayload.create(b);
  }

  static boolean same(Payload p, int i, int size) {
    return p.sliceData().equals(element(i, size).sliceData());
  }

  static ByteBuf text(String s) {
    return Unpooled.copiedBuffer(s, UTF_8);
  }

  static Payload payload(String s) {
    return DefaultPayload.create(s);
  }

  static int num(String s) {
    return Integer.parseInt(s);
  }

  static <T> T wait(Mono<T> m) {
    return m.block(Duration.ofSeconds(PATIENCE));
  }

  static void check(boolean ok, String what) {
    if (!ok) throw new IllegalStateException(what);
  }
}
