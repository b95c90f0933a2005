// The page without a kernel: read the data that the page carries and show it with the widgets' own views.

import { attach, cut, fromBase64 } from "./decode.js";
import { button } from "./controls.js";
import { h } from "./dom.js";
import { DEFAULTS, createExplorer } from "./explorer.js";
import { FORMAT } from "./scene.js";
import { StandIn } from "./standin.js";
import { ambientTheme, watchTheme } from "./theme.js";

/** What stands around this script: the page, or the part of a notebook into which a cell wrote it, beside others. */
const beside = document.currentScript?.parentElement;
const around = beside?.querySelector("#rl-scene") ? beside : document; // some notebooks run scripts from the head

/** @param {string} id */
function carried(id) {
  return around.querySelector(`#${id}`)?.textContent ?? "";
}

function start() {
  const { lengths, scene: tree } = JSON.parse(carried("rl-scene"));
  const scene = /** @type {import("./scene.js").Scene} */ (attach(tree, cut(fromBase64(carried("rl-data")), lengths)));
  if (scene.format !== FORMAT) throw new Error(`The page carries data of format ${scene.format}; its script reads ${FORMAT}.`);
  const [image] = scene.images;
  const model = new StandIn({
    ...DEFAULTS,
    scene,
    method: image?.results[0]?.method ?? "",
    target: image?.targets[0]?.key ?? "",
    across: scene.methods.length > 1 ? "methods" : "classes",
  });
  const explorer = createExplorer(model);
  // a page that a browser saved as it stood holds what its script had drawn
  around.querySelector("#rl-root")?.replaceChildren(explorer.el);
  around.querySelector(".rl-page-theme")?.remove();

  const root = document.documentElement;
  const theme = button("", () => {
    root.dataset.theme = ambientTheme() === "dark" ? "light" : "dark";
  });
  around.querySelector(".rl-page-head")?.append(h("div", { class: "rl rl-page-theme" }, theme));
  watchTheme((now) => {
    document.body.dataset.shade = now;
    const other = now === "dark" ? "light" : "dark";
    theme.textContent = now === "dark" ? "Light" : "Dark";
    theme.setAttribute("aria-label", `Change to the ${other} theme`);
  });
}

start();
