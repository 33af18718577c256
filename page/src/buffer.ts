// Node's Buffer, which rsocket-js takes for granted: esbuild puts it wherever the name is used.
export { Buffer } from "buffer";
