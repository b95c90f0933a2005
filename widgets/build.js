// Bundle src/ into dist/. With an argument, into that folder instead: a test rebuilds there and compares the bytes.

import { build } from "esbuild";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));
const outdir = process.argv[2] ?? join(here, "dist");
const common = {
  absWorkingDir: here,
  bundle: true,
  minify: true,
  charset: "utf8",
  target: ["es2022"],
  legalComments: "none",
  outdir,
  logLevel: "warning",
};

const widgets = ["explorer", "class_selector", "layer_slider", "overlay", "comparison_grid"];
await build({ ...common, entryPoints: ["src/page.js"], format: "iife" });
await build({
  ...common,
  entryPoints: Object.fromEntries(widgets.map((name) => [name, `src/entry_${name}.js`])),
  format: "esm",
});
await build({ ...common, entryPoints: ["src/rlrp.css"] });
