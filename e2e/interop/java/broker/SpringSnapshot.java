// A stranger's ten lines, shown in docs/CLIENTS.md and run by the tests: java SpringSnapshot HOST PORT DEVICE FILE.
import java.nio.file.Files;
import java.nio.file.Path;
import org.springframework.messaging.rsocket.RSocketRequester;
import org.springframework.util.MimeTypeUtils;

class SpringSnapshot {
  public static void main(String[] args) throws Exception {
    String host = args[0], device = args[2], file = args[3];
    int port = Integer.parseInt(args[1]);
    // ten lines
    RSocketRequester requester = RSocketRequester.builder()
        .dataMimeType(MimeTypeUtils.APPLICATION_JSON)
        .tcp(host, port);
    byte[] picture = requester.route("camera.snapshot?device=" + device)
        .data("{}")
        .retrieveMono(byte[].class)
        .block();
    Files.write(Path.of(file), picture);
    // end
    requester.dispose();
  }
}
