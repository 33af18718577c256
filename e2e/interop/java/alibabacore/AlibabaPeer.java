import com.alibaba.rsocket.ServiceLocator;
import com.alibaba.rsocket.client.RSocketBrokerClient;
import com.alibaba.rsocket.client.RSocketBrokerConnector;
import com.alibaba.rsocket.cloudevents.CloudEventImpl;
import com.alibaba.rsocket.cloudevents.CloudEventRSocket;
import com.alibaba.rsocket.cloudevents.EventReply;
import com.alibaba.rsocket.cloudevents.RSocketCloudEventBuilder;
import com.alibaba.rsocket.events.AppStatusEvent;
import com.alibaba.rsocket.loadbalance.NoAvailableConnectionException;
import com.alibaba.rsocket.metadata.AppMetadata;
import com.alibaba.rsocket.metadata.BearerTokenMetadata;
import com.alibaba.rsocket.metadata.GSVRoutingMetadata;
import com.alibaba.rsocket.metadata.MessageMimeTypeMetadata;
import com.alibaba.rsocket.metadata.RSocketCompositeMetadata;
import com.alibaba.rsocket.metadata.RSocketMimeType;
import com.alibaba.rsocket.metadata.ServiceRegistryMetadata;
import io.netty.buffer.ByteBuf;
import io.netty.buffer.Unpooled;
import io.rsocket.ConnectionSetupPayload;
import io.rsocket.Payload;
import io.rsocket.RSocket;
import io.rsocket.exceptions.RejectedSetupException;
import io.rsocket.util.DefaultPayload;
import java.net.URI;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.UUID;
import java.util.stream.Collectors;
import reactor.core.publisher.Mono;
import reactor.util.retry.Retry;

/**
 * Peer with the metadata of Alibaba's broker, as that broker and its clients write and read it themselves. As a server it takes
 * a device as the broker does: no resumption, an application with an id of 32 characters, services with a gsv, and, with the
 * option jwt=TOKEN, the token. Then it pushes an event, and asks what the broker's web console asks.
 */
class AlibabaPeer extends Peer {
  private final List<String> options;
  private String app = ""; // that registered
  private String console = ""; // what it said to the console

  AlibabaPeer(List<String> options) {
    super(options);
    this.options = options;
  }

  public static void main(String[] args) throws Exception {
    new AlibabaPeer(List.of(args).subList(2, args.length)).run(args[0], URI.create(args[1]));
  }

  /** What a Java program calls of a device. Its name and its methods are the routes. */
  public interface Camera {
    Mono<ByteBuf> snapshot();
  }

  @Override
  String obey(String[] a) throws Exception {
    switch (a[0]) {
      case "app":
        return app;
      case "console":
        return console;
      case "call": // a service of whichever device has it, by Alibaba's client
        RSocketBrokerClient client = RSocketBrokerConnector.create()
            .appName("laptop")
            .dataMimeType(RSocketMimeType.Json)
            .jwtToken(new char[0])
            .connect(List.of(a[1]));
        try {
          Camera camera = client.buildService(Camera.class, "camera");
          ByteBuf picture = Mono.defer(camera::snapshot)
              .retryWhen(Retry.fixedDelay(50, Duration.ofMillis(100)).filter(NoAvailableConnectionException.class::isInstance)) // it connects in the background
              .block();
          return picture.readableBytes() + " " + (picture.getUnsignedShort(picture.readerIndex()) == 0xFFD8);
        } finally {
          client.dispose();
        }
    }
    return super.obey(a);
  }

  @Override
  Mono<RSocket> accept(ConnectionSetupPayload setup, RSocket rs) {
    try {
      RSocketCompositeMetadata md = RSocketCompositeMetadata.from(setup.metadata());
      for (String o : options) {
        if (!o.startsWith("jwt=")) continue;
        if (!md.contains(RSocketMimeType.BearerToken)) return Mono.error(new RejectedSetupException("RST-500405: no JWT"));
        char[] token = BearerTokenMetadata.from(md.getMetadata(RSocketMimeType.BearerToken)).getBearerToken();
        if (!o.substring(4).equals(new String(token))) return Mono.error(new RejectedSetupException("RST-500405: bad JWT"));
      }
      if (!md.contains(RSocketMimeType.Application)) return Mono.error(new RejectedSetupException("RST-500411: no application"));
      AppMetadata application = AppMetadata.from(md.getMetadata(RSocketMimeType.Application));
      if (application.getUuid() == null || application.getUuid().length() < 32) return Mono.error(new RejectedSetupException("RST-500410: no uuid"));
      List<ServiceLocator> services = new ArrayList<>();
      if (md.contains(RSocketMimeType.ServiceRegistry)) services.addAll(ServiceRegistryMetadata.from(md.getMetadata(RSocketMimeType.ServiceRegistry)).getPublished());
      app = application.getName() + " device=" + application.getMetadata("device") + " "
          + services.stream().map(s -> s.getGsv() + ":" + s.getId()).sorted().collect(Collectors.joining(","));
      rs.metadataPush(push(application.getUuid()))
          .then(rs.requestResponse(DefaultPayload.create(Unpooled.EMPTY_BUFFER, routing("com.alibaba.rsocket.observability.MetricsService.scrape", null))))
          .subscribe(p -> console = "answered", e -> console = e.getClass().getSimpleName());
    } catch (Exception e) {
      return Mono.error(e);
    }
    return super.accept(setup, rs);
  }

  /** An event of the broker's, raw JSON as METADATA_PUSH has it. */
  private static Payload push(String uuid) {
    return new Pusher().cloudEventToMetadataPushPayload(
        RSocketCloudEventBuilder.builder(new AppStatusEvent(uuid, AppStatusEvent.STATUS_SERVING)).build());
  }

  @Override
  Payload setup() {
    AppMetadata application = new AppMetadata();
    application.setUuid(UUID.randomUUID().toString());
    application.setName("laptop");
    application.setIp("127.0.0.1");
    return DefaultPayload.create(Unpooled.EMPTY_BUFFER, RSocketCompositeMetadata.from(application).getContent());
  }

  @Override
  ByteBuf address(String route, String device) {
    return routing(route, device.equals("any") ? null : "device:" + device);
  }

  private static ByteBuf routing(String route, String endpoint) {
    int dot = route.lastIndexOf('.');
    GSVRoutingMetadata routing = new GSVRoutingMetadata("", route.substring(0, dot), route.substring(dot + 1), "");
    if (endpoint != null) routing.setEndpoint(endpoint);
    return RSocketCompositeMetadata.from(routing, new MessageMimeTypeMetadata(RSocketMimeType.Json)).getContent();
  }

  /** CloudEventRSocket writes an event as METADATA_PUSH; nothing else of it is needed. */
  private static class Pusher implements CloudEventRSocket {
    @Override
    public Mono<Void> fireCloudEvent(CloudEventImpl<?> event) {
      return Mono.empty();
    }

    @Override
    public Mono<Void> fireEventReply(URI reply, EventReply event) {
      return Mono.empty();
    }
  }
}
