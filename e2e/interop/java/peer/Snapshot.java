// A stranger's ten lines, shown in docs/CLIENTS.md and run by the tests: java Snapshot HOST PORT DEVICE FILE.
import io.netty.buffer.*;
import io.rsocket.*;
import io.rsocket.core.RSocketConnector;
import io.rsocket.metadata.*;
import io.rsocket.transport.netty.client.TcpClientTransport;
import io.rsocket.util.ByteBufPayload;
import java.nio.file.*;
import java.util.List;

class Snapshot {
  public static void main(String[] args) throws Exception {
    String host = args[0], device = args[2], file = args[3];
    int port = Integer.parseInt(args[1]);
    // ten lines
    RSocket rsocket = RSocketConnector.create()
        .metadataMimeType(WellKnownMimeType.MESSAGE_RSOCKET_COMPOSITE_METADATA.getString())
        .dataMimeType("application/json")
        .connect(TcpClientTransport.create(host, port)).block();
    ByteBufAllocator alloc = ByteBufAllocator.DEFAULT;
    CompositeByteBuf metadata = alloc.compositeBuffer();
    CompositeMetadataCodec.encodeAndAddMetadata(metadata, alloc, WellKnownMimeType.MESSAGE_RSOCKET_ROUTING,
        TaggingMetadataCodec.createRoutingMetadata(alloc, List.of("camera.snapshot", "device=" + device)).getContent());
    Payload picture = rsocket.requestResponse(
        ByteBufPayload.create(ByteBufUtil.writeUtf8(alloc, "{}"), metadata)).block();
    Files.write(Path.of(file), ByteBufUtil.getBytes(picture.sliceData()));
    // end
    rsocket.dispose();
  }
}
