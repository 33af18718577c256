// node build.mjs [DIR]: the page, as its server embeds it: index.html, page.js, page.css, icon.svg and the licences of what
// is in page.js. The same sources give the same bytes, on any machine.
import { build } from "esbuild";
import { cp, mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const here = fileURLToPath(new URL(".", import.meta.url));
const out = resolve(process.argv[2] ?? join(here, "../internal/page/dist"));
const absWorkingDir = here;
process.chdir(here);

const { metafile, outputFiles } = await build({
  absWorkingDir,
  entryPoints: { page: "src/main.ts" },
  outdir: out,
  bundle: true,
  minify: true,
  format: "esm",
  target: ["chrome109", "firefox115", "safari16.4"],
  charset: "utf8",
  legalComments: "none", // licences.txt has them whole
  inject: ["src/buffer.ts"], // rsocket-js takes Node's Buffer for granted
  define: { global: "globalThis" },
  metafile: true,
  write: false,
  logLevel: "warning",
});
const style = await build({ absWorkingDir, entryPoints: { page: "src/page.css" }, outdir: out, minify: true, write: false, target: ["chrome109", "firefox115", "safari16.4"], logLevel: "warning" });

await rm(out, { recursive: true, force: true }); // now that there is something to put in its place
await mkdir(out, { recursive: true });
for (const file of [...outputFiles, ...style.outputFiles]) await writeFile(file.path, file.contents);
for (const name of ["index.html", "icon.svg"]) await cp(join("src", name), join(out, name));

const packages = new Set();
for (const input of Object.keys(metafile.inputs)) {
  const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
  if (found) packages.add(found[1]);
}
let licences = "What others wrote of page.js, and on which terms.\n";
for (const name of [...packages].sort()) {
  const { version, license } = JSON.parse(await readFile(join("node_modules", name, "package.json"), "utf8"));
  const text = await readFile(join("node_modules", name, "LICENSE"), "utf8");
  licences += `\n${"=".repeat(78)}\n${name} ${version} (${license})\n${"=".repeat(78)}\n\n${text.trim()}\n`;
}
await writeFile(join(out, "licences.txt"), licences);
