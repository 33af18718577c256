// node snapshot.mjs HOST PORT DEVICE FILE: a stranger's ten lines, shown in docs/CLIENTS.md and run by the tests.
import { writeFileSync } from "node:fs";
const [host, port, device, file] = process.argv.slice(2);
// ten lines
import { RSocketConnector } from "rsocket-core";
import { TcpClientTransport } from "rsocket-tcp-client";
import { encodeCompositeMetadata, encodeRoutes, WellKnownMimeType } from "rsocket-composite-metadata";

const setup = { metadataMimeType: "message/x.rsocket.composite-metadata.v0", dataMimeType: "application/json" };
const transport = new TcpClientTransport({ connectionOptions: { host, port, noDelay: true } });
const rsocket = await new RSocketConnector({ setup, transport }).connect();
const routes = encodeRoutes("camera.snapshot", `device=${device}`);
const metadata = encodeCompositeMetadata([[WellKnownMimeType.MESSAGE_RSOCKET_ROUTING, routes]]);
const picture = await new Promise((onNext, onError) =>
  rsocket.requestResponse({ data: Buffer.from("{}"), metadata }, { onNext, onError, onComplete() {}, onExtension() {} }));
writeFileSync(file, picture.data);
// end
rsocket.close();
