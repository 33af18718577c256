import io.netty.buffer.ByteBuf;
import io.netty.buffer.ByteBufAllocator;
import io.netty.buffer.CompositeByteBuf;
import io.netty.buffer.Unpooled;
import io.rsocket.Payload;
import io.rsocket.broker.common.Id;
import io.rsocket.broker.common.MimeTypes;
import io.rsocket.broker.common.Tags;
import io.rsocket.broker.common.WellKnownKey;
import io.rsocket.broker.frames.AddressFlyweight;
import io.rsocket.broker.frames.RouteSetupFlyweight;
import io.rsocket.metadata.CompositeMetadataCodec;
import io.rsocket.util.DefaultPayload;
import java.net.URI;
import java.util.List;

/** Peer as a laptop of rsocket-broker, with that broker's own encoders. The device "any" leaves the choice to the broker. */
class Laptop extends Peer {
  private final ByteBufAllocator alloc = ByteBufAllocator.DEFAULT;
  private final Id id = Id.random();

  Laptop(List<String> options) {
    super(options);
  }

  public static void main(String[] args) throws Exception {
    ((ch.qos.logback.classic.Logger) org.slf4j.LoggerFactory.getLogger("ROOT")).setLevel(ch.qos.logback.classic.Level.OFF); // else it prints each frame
    new Laptop(List.of(args).subList(2, args.length)).run(args[0], URI.create(args[1]));
  }

  @Override
  Payload setup() {
    CompositeByteBuf metadata = alloc.compositeBuffer();
    brokerFrame(metadata, RouteSetupFlyweight.encode(alloc, id, "laptop", Tags.empty(), 0));
    return DefaultPayload.create(Unpooled.EMPTY_BUFFER, metadata);
  }

  @Override
  ByteBuf address(String route, String device) {
    Tags.Builder<?> to = Tags.builder().with(WellKnownKey.SERVICE_NAME, "perch");
    if (!device.equals("any")) to.with("device", device);
    CompositeByteBuf metadata = alloc.compositeBuffer();
    brokerFrame(metadata, AddressFlyweight.encode(alloc, id, Tags.empty(), to.buildTags(), AddressFlyweight.FLAGS_U));
    route(metadata, List.of(route));
    return metadata;
  }

  private void brokerFrame(CompositeByteBuf metadata, ByteBuf frame) {
    CompositeMetadataCodec.encodeAndAddMetadata(metadata, alloc, MimeTypes.BROKER_FRAME_MIME_TYPE, frame);
  }
}
