// All views in one: what the page shows, and what the Explorer widget shows.

import { askOf } from "./ask.js";
import { createClasses } from "./classes.js";
import { button, choice, toggle } from "./controls.js";
import { h, named, set, watch } from "./dom.js";
import { createChannels, createCover } from "./experiments.js";
import { saying } from "./format.js";
import { WHOLE } from "./geometry.js";
import { createGrid } from "./grid.js";
import { createLayers } from "./layers.js";
import { createDisplay, createOverlay, current, schemeOf } from "./overlay.js";
import { createOpener } from "./pictures.js";
import { savePng, saveJson } from "./save.js";
import { isUnits, methodTitle } from "./scene.js";
import { StandIn } from "./standin.js";
import { watchTheme } from "./theme.js";

/** @typedef {import("./dom.js").Model} Model */
/** @typedef {import("./dom.js").View} View */
/** @typedef {import("./scene.js").Scene} Scene */

/** How a scene is shown before anybody has touched anything; the widgets' Python half has the same defaults. */
export const DEFAULTS = Object.freeze({
  image: 0,
  layer: "input",
  opacity: 0.85,
  view: "strength",
  sign: "both",
  clip: 99,
  palette: "blue-orange",
  smooth: true,
  scale: "own",
});

/** What a view knows for itself alone. */
export function localState() {
  return new StandIn({ theme: "light", cursor: null, viewport: WHOLE, tool: "", box: null, reader: "" });
}

/**
 * A view in its frame: the root element that carries the theme.
 * @param {Model} local
 * @param {View[]} views
 * @param {...(Node | null)} children
 * @returns {View}
 */
export function framed(local, views, ...children) {
  const el = h("div", { class: "rl rl-explorer" }, ...children);
  const stop = watchTheme((theme) => {
    el.dataset.theme = theme;
    local.set("theme", theme);
  });
  return {
    el,
    destroy() {
      stop();
      for (const view of views) view.destroy();
    },
  };
}

/**
 * Switch between the cells of a coarse map and values between them; hidden where there is nothing to switch.
 * @param {Model} model
 */
export function createSmooth(model) {
  const cells = toggle(model, {
    key: "smooth",
    label: "Smooth between cells",
    hint: "Deep layers have few cells. Smooth shows the values between their middles, otherwise each cell has one colour.",
  });
  const stop = watch(model, ["scene", "image", "method", "target", "layer"], () => {
    const now = current(model);
    set(cells.el, "hidden", !now || isUnits(now.piece) || now.depth === 0);
  });
  return {
    el: cells.el,
    destroy() {
      stop();
      cells.destroy();
    },
  };
}

/**
 * Pictures to choose from.
 * @param {Model} model
 */
export function createPictures(model) {
  return choice(model, {
    label: "Picture",
    options: () =>
      /** @type {Scene} */ (model.get("scene")).images.map(({ name }, i) => ({ value: String(i), text: name })),
    value: () => String(model.get("image")),
    pick: (value) => model.set("image", Number(value)),
    keys: ["scene", "image"],
  });
}

/**
 * What the kernel is doing, how far it is, and what went wrong.
 * @param {Model} model
 * @returns {View}
 */
export function createTold(model) {
  const progress = h("progress", { "aria-label": "Progress", max: 1 });
  const words = h("span");
  const busy = h("div", { class: "rl-busy", role: "status" }, progress, words);
  const error = h("p", { class: "rl-error", role: "alert" });
  const destroy = watch(model, ["busy", "progress", "status", "error", "refused"], () => {
    busy.hidden = !model.get("busy");
    const done = model.get("progress") ?? 0;
    // Of one step nobody knows how much is done; of several, how many are.
    if (done > 0) progress.value = done;
    else progress.removeAttribute("value");
    words.textContent = `${model.get("status") ?? ""} …`;
    // What the browser itself refuses stands beside what the kernel says of what was sent.
    error.textContent = [model.get("refused"), model.get("error")].filter(Boolean).join(" ");
    error.hidden = !error.textContent;
  });
  return { el: h("div", { class: "rl-told" }, busy, error), destroy };
}

/**
 * @param {StandIn} model
 * @returns {View}
 */
export function createExplorer(model) {
  const local = localState();
  const ask = askOf(model, () => current(model));
  const verdict = h("p", { class: "rl-verdict" });
  const overlay = createOverlay(model, local);
  const classes = createClasses(model, ask);
  const display = createDisplay(model);
  const layers = createLayers(model, local);
  const smooth = createSmooth(model);
  const grid = createGrid(model, local, ask);
  const pictures = createPictures(model);
  const methods = choice(model, {
    label: "Method",
    options: () => offered(model).map((value) => ({ value, text: methodTitle(value) })),
    value: () => current(model)?.result.method ?? "",
    pick: (value) => ask.method(value),
    keys: ["scene", "image", "method", "target", "offered"],
  });
  const cover = ask.live ? createCover(model, local, ask) : null;
  const channels = ask.live ? createChannels(model, local, ask) : null;
  if (channels) layers.el.append(channels.el);

  const note = h("p", { class: "rl-note", role: "status" });
  const png = button("Save PNG", () => {
    const now = current(model);
    if (now) void savePng(model.get("scene"), now, look()).catch((error) => (note.textContent = String(error.message)));
  });
  const json = button("Save JSON", () => {
    const now = current(model);
    if (now) saveJson(model.get("scene"), now);
  });
  const pin = button("Pin", pinNow, { label: "Pin this result for comparison" });

  /** @returns {import("./save.js").Look} */
  function look() {
    const [view, sign, opacity, clip, smoothed] = ["view", "sign", "opacity", "clip", "smooth"].map((key) => model.get(key));
    return { view, sign, opacity, clip, smooth: smoothed, ...schemeOf(model, local) };
  }

  function pinNow() {
    const now = current(model);
    if (!now || isUnits(now.piece)) return;
    const { result, target, layer } = now;
    const [image, method, key] = [model.get("image"), result.method, target.key];
    /** @type {import("./layout.js").Cell[]} */
    const pins = model.get("pins") ?? [];
    const others = pins.filter(
      (each) => each.image !== image || each.method !== method || each.target !== key || each.layer !== layer.name,
    );
    const cell = { image, method, target: key, label: target.label, title: methodTitle(method), layer: layer.name };
    model.set("pins", [...others, cell]);
    model.set("across", "pinned");
  }

  const told = createTold(model);

  const frame = framed(
    local,
    [told, overlay, classes, display, layers, smooth, grid, pictures, methods, ...(cover ? [cover] : []), ...(channels ? [channels] : [])],
    verdict,
    told.el,
    h(
      "div",
      { class: "rl-main" },
      overlay.el,
      h(
        "div",
        { class: "rl-side" },
        h("section", { class: "rl-panel rl-pictures", "aria-label": "Picture" }, pictures.el),
        classes.el,
        h("section", { class: "rl-panel", "aria-label": "Method" }, methods.el),
        h("section", { class: "rl-panel", "aria-label": "Display" }, display.el, smooth.el),
        cover?.el ?? null,
        h("section", { class: "rl-panel rl-save", "aria-label": "Save" }, pin, png, json, note),
      ),
    ),
    layers.el,
    grid.el,
  );
  if (ask.live) {
    frame.el.querySelector(".rl-pictures")?.append(createOpener(frame.el, ask));
    // Pasting needs something to have the focus; a click anywhere gives it to the widget.
    frame.el.tabIndex = -1;
  }

  const stops = [
    watch(model, ["scene", "image"], () => {
      const scene = /** @type {Scene} */ (model.get("scene"));
      const now = current(model);
      const [best] = now?.picture.classes ?? [];
      verdict.replaceChildren(
        ...(best
          ? [
              h("span", { class: "rl-network" }, named(scene.network)),
              ...(best.probability === null
                ? [" gives ", h("strong", {}, named(best.label)), ` the output ${saying(best)}.`]
                : [" says ", h("strong", {}, named(best.label)), ` with ${saying(best)} probability.`]),
            ]
          : []),
      );
      pictures.el.hidden = scene.images.length < 2;
      set(frame.el.querySelector(".rl-pictures") ?? frame.el, "hidden", !ask.live && scene.images.length < 2);
      set(methods.el.parentElement ?? methods.el, "hidden", offered(model).length < 2);
      grid.el.hidden = scene.images.length < 2 && !scene.images.some(({ results, targets }) => results.length > 1 || targets.length > 1);
    }),
    watch(model, ["scene", "image", "method", "target", "layer"], () => {
      const now = current(model);
      png.disabled = pin.disabled = !now || isUnits(now.piece);
    }),
    watch(model, ["busy"], () => frame.el.setAttribute("aria-busy", String(Boolean(model.get("busy"))))),
  ];
  return {
    el: frame.el,
    destroy() {
      for (const stop of stops) stop();
      frame.destroy();
    },
  };
}

/** Methods to choose from: those that the kernel offers, or those that are there. @param {Model} model @returns {string[]} */
function offered(model) {
  const scene = /** @type {Scene} */ (model.get("scene"));
  return model.get("offered") ?? scene.methods;
}
