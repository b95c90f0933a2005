// All views in one: what the page shows, and what the Explorer widget shows.

import { createClasses } from "./classes.js";
import { button, choice, toggle } from "./controls.js";
import { h, set, watch } from "./dom.js";
import { percent } from "./format.js";
import { WHOLE } from "./geometry.js";
import { createGrid } from "./grid.js";
import { createLayers } from "./layers.js";
import { createDisplay, createOverlay, current } from "./overlay.js";
import { savePng, saveJson } from "./save.js";
import { isUnits, methodTitle } from "./scene.js";
import { StandIn } from "./standin.js";
import { watchTheme } from "./theme.js";

/** @typedef {import("./dom.js").Model} Model */
/** @typedef {import("./scene.js").Scene} Scene */

/** How a scene is shown before anybody has touched anything. */
export const DEFAULTS = Object.freeze({
  image: 0,
  method: "",
  target: "",
  layer: "",
  opacity: 0.85,
  view: "strength",
  sign: "both",
  clip: 99,
  smooth: true,
  across: "methods",
  scale: "own",
});

/** What a view knows for itself alone. */
export function localState() {
  return new StandIn({ theme: "light", cursor: null, viewport: WHOLE });
}

/**
 * @param {Model} model
 * @returns {import("./dom.js").View}
 */
export function createExplorer(model) {
  const local = localState();
  /** @type {Scene} */
  const scene = model.get("scene");
  const verdict = h("p", { class: "rl-verdict" });
  const overlay = createOverlay(model, local);
  const classes = createClasses(model);
  const display = createDisplay(model);
  const layers = createLayers(model, local);
  const cells = toggle(model, {
    key: "smooth",
    label: "Smooth between cells",
    hint: "Deep layers have few cells. Smooth shows the values between their middles, otherwise each cell has one colour.",
  });
  const views = [overlay, classes, display, layers, cells];

  const methods =
    scene.methods.length > 1
      ? choice(model, {
          key: "method",
          label: "Method",
          options: scene.methods.map((value) => ({ value, text: methodTitle(value) })),
        })
      : null;
  const images =
    scene.images.length > 1
      ? choice(model, {
          key: "picture",
          label: "Image",
          options: scene.images.map(({ name }, i) => ({ value: String(i), text: name })),
        })
      : null;
  const comparable = scene.images.some(({ results, targets }) => results.length > 1 || targets.length > 1);
  const grid = comparable ? createGrid(model, local) : null;
  for (const view of [methods, images, grid]) if (view) views.push(view);

  const note = h("p", { class: "rl-note", role: "status" });
  const picture = button("Save PNG", () => {
    const now = current(model);
    if (now) void savePng(model.get("scene"), now, look()).catch((error) => (note.textContent = String(error.message)));
  });
  const figures = button("Save JSON", () => {
    const now = current(model);
    if (now) saveJson(model.get("scene"), now);
  });

  /** @returns {import("./save.js").Look} */
  function look() {
    const [view, sign, opacity, clip, smooth] = ["view", "sign", "opacity", "clip", "smooth"].map((key) => model.get(key));
    return { view, sign, opacity, clip, smooth, theme: local.get("theme") };
  }

  const el = h(
    "div",
    { class: "rl rl-explorer" },
    verdict,
    h(
      "div",
      { class: "rl-main" },
      overlay.el,
      h(
        "div",
        { class: "rl-side" },
        images ? h("section", { class: "rl-panel" }, images.el) : null,
        classes.el,
        methods ? h("section", { class: "rl-panel" }, methods.el) : null,
        h("section", { class: "rl-panel", "aria-label": "Display" }, display.el, cells.el),
        h("section", { class: "rl-panel rl-save", "aria-label": "Save" }, picture, figures, note),
      ),
    ),
    layers.el,
    grid?.el ?? null,
  );

  const stops = [
    watchTheme((theme) => {
      el.dataset.theme = theme;
      local.set("theme", theme);
    }),
    watch(model, ["scene", "image"], () => {
      const now = current(model);
      const [best] = now?.picture.classes ?? [];
      verdict.replaceChildren(
        ...(best
          ? [
              h("span", { class: "rl-network", text: model.get("scene").network }),
              " says ",
              h("strong", { text: best.label }),
              ` with ${percent(best.probability)} probability.`,
            ]
          : []),
      );
    }),
    watch(model, ["scene", "image", "method", "target", "layer"], () => {
      const now = current(model);
      picture.disabled = !now || isUnits(now.piece);
      set(cells.el, "hidden", !now || isUnits(now.piece) || now.depth === 0);
    }),
  ];
  return {
    el,
    destroy() {
      for (const stop of stops) stop();
      for (const view of views) view.destroy();
    },
  };
}
