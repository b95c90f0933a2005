// Photograph and relevance: the stage with its controls, colour bar and read-out, bound to a model.

import { createColourBar } from "./colourbar.js";
import { button, choiceOf, slider } from "./controls.js";
import { h, named, watch } from "./dom.js";
import { isolated, number, percent } from "./format.js";
import { WHOLE, zoomAt } from "./geometry.js";
import { develop } from "./photo.js";
import { choose, isUnits, laidOver, limitOf, massesOf, methodTitle, numbers } from "./scene.js";
import { createStage } from "./stage.js";
import { createUnits } from "./units.js";

/** @typedef {import("./dom.js").Model} Model */
/** @typedef {import("./dom.js").View} View */

const CHOICE = ["scene", "image", "method", "target", "layer"];

/** @param {Model} model */
export function current(model) {
  return choose(model.get("scene"), {
    image: model.get("image"),
    method: model.get("method"),
    target: model.get("target"),
    layer: model.get("layer"),
  });
}

/**
 * Which colours hold: the theme is the surroundings', the palette is chosen.
 * @param {Model} model
 * @param {Model} local
 * @returns {import("./colour.js").Scheme}
 */
export function schemeOf(model, local) {
  return { theme: local.get("theme"), palette: model.get("palette") };
}

/**
 * The stage, colour bar and read-out.
 * @param {Model} model
 * @param {Model} local what only this view knows: theme, viewport, cursor
 * @param {HTMLElement | null} [note] what the read-out begins with
 * @returns {View}
 */
export function createOverlay(model, local, note = null) {
  /** @type {import("./photo.js").Plates | null} */
  let plates = null;
  /** The photograph that the plates are of. @type {import("./scene.js").Photo | null} */
  let shown = null;
  const stage = createStage({
    onCursor: (pixel, viewport) => {
      local.set("cursor", pixel);
      if (viewport) local.set("viewport", viewport);
    },
    onViewport: (viewport) => local.set("viewport", viewport),
    onBox: (box, done) => {
      local.set("box", box);
      if (done) local.set("drawn", box);
    },
  });
  const units = createUnits();
  const bar = createColourBar();
  const readout = h("p", { class: "rl-readout", role: "status" });
  const zoom = h(
    "div",
    { class: "rl-zoom", role: "group", "aria-label": "Zoom" },
    button("−", () => local.set("viewport", zoomAt(local.get("viewport"), 1 / 1.5)), { label: "Zoom out" }),
    button("+", () => local.set("viewport", zoomAt(local.get("viewport"), 1.5)), { label: "Zoom in" }),
    button("Fit", () => local.set("viewport", WHOLE), { label: "Fit: show the whole picture" }),
  );
  const empty = h("p", { class: "rl-empty", text: "Nothing has been explained yet." });
  const frame = h("div", { class: "rl-frame" }, stage.el, units.el, zoom, empty);
  const el = h("div", { class: "rl-overlay" }, frame, bar.el, note, readout);

  function draw() {
    const now = current(model);
    const scheme = schemeOf(model, local);
    const sign = model.get("sign");
    const listed = now !== null && isUnits(now.piece);
    empty.hidden = now !== null;
    stage.el.hidden = now === null || listed;
    zoom.hidden = now === null || listed;
    units.el.hidden = !listed;
    bar.el.hidden = now === null || listed;
    if (!now) return;
    el.style.setProperty("--aspect", String(now.picture.width / now.picture.height));
    if (isUnits(now.piece)) {
      units.draw(now.piece, scheme, sign);
      say();
      return;
    }
    const limit = limitOf(now.piece, model.get("clip"));
    el.classList.toggle("rl-wide", model.get("view") === "beside");
    stage.draw({
      width: now.picture.width,
      height: now.picture.height,
      plates,
      values: laidOver(now.piece, now.picture, model.get("smooth")),
      limit,
      ...scheme,
      sign,
      mode: model.get("view"),
      opacity: model.get("opacity"),
    });
    stage.el.setAttribute(
      "aria-label",
      `Relevance for ${isolated(now.target.label)} by ${isolated(methodTitle(now.result.method))} at layer ${isolated(now.layer.name)}. ` +
        "Arrow keys move the pixel cursor, plus and minus zoom, 0 shows the whole picture.",
    );
    say();
  }

  /** The read-out under the picture, and the mark on the colour bar. */
  function say() {
    const now = current(model);
    const pixel = local.get("cursor");
    stage.look(local.get("viewport"), pixel);
    if (!now) return;
    if (isUnits(now.piece)) {
      readout.textContent = "";
      return;
    }
    const { packed, cell } = cellAt(now.piece, now.picture, pixel);
    const values = numbers(packed);
    const limit = limitOf(packed, model.get("clip"));
    const value = cell === null ? null : (values[cell.index] ?? 0);
    bar.draw(limit, schemeOf(model, local), model.get("sign"), value);
    const { positive, negative } = massesOf(packed);
    const total = positive + negative;
    if (value === null || cell === null || !pixel) {
      readout.replaceChildren(
        h(
          "span",
          {},
          `${percent(total ? positive / total : 0)} of the relevance speaks for `,
          named(now.target.label),
          `, ${percent(total ? negative / total : 0)} against it.`,
        ),
      );
      return;
    }
    const place = cell.coarse ? `cell ${cell.x}, ${cell.y}` : `x ${pixel.x}, y ${pixel.y}`;
    readout.replaceChildren(
      h("span", { text: place }),
      h("strong", { text: number(value, { plus: true }) }),
      h("span", { text: `${percent(total ? value / total : 0)} of the total`, title: "of the sum of all absolute values" }),
    );
  }

  async function photograph() {
    const photo = current(model)?.picture.photo ?? null;
    if (photo === shown) return;
    shown = photo;
    plates = null;
    if (photo) {
      const developed = await develop(photo);
      if (shown !== photo) return;
      plates = developed;
    }
    draw();
  }

  const stops = [
    watch(model, ["scene", "image"], () => void photograph()),
    watch(model, [...CHOICE, "opacity", "view", "sign", "clip", "smooth", "palette"], draw),
    watch(local, ["theme"], draw),
    watch(local, ["cursor", "viewport"], say),
    // While a map of the comparison is read, its value is said and not that of this one.
    watch(local, ["reader"], () => readout.setAttribute("aria-live", local.get("reader") ? "off" : "polite")),
    watch(local, ["tool", "box"], () => stage.frame(local.get("tool") === "cover", local.get("box"))),
  ];
  return {
    el,
    destroy() {
      for (const stop of stops) stop();
      stage.destroy();
    },
  };
}

/**
 * The cell of a layer's map that lies under a pixel of the photograph.
 * @param {import("./scene.js").Packed} packed
 * @param {{width: number, height: number}} size
 * @param {import("./geometry.js").Point | null} pixel
 */
function cellAt(packed, size, pixel) {
  const [rows = 1, columns = 1] = packed.shape;
  if (!pixel) return { packed, cell: null };
  const x = Math.floor(((pixel.x + 0.5) * columns) / size.width);
  const y = Math.floor(((pixel.y + 0.5) * rows) / size.height);
  return { packed, cell: { x, y, index: y * columns + x, coarse: columns !== size.width || rows !== size.height } };
}

/**
 * How the relevance is shown: opacity, view, sign, clip, colours.
 * @param {Model} model
 * @returns {View}
 */
export function createDisplay(model) {
  const parts = [
    choiceOf(model, "view", "View", { strength: "Overlay", even: "Blend", beside: "Side by side" }),
    slider(model, {
      key: "opacity",
      label: "Opacity",
      min: 0,
      max: 1,
      step: 0.01,
      show: (value) => `${Math.round(100 * value)} %`,
    }),
    choiceOf(model, "sign", "Sign", { both: "Both", positive: "Positive", negative: "Negative" }),
    slider(model, {
      key: "clip",
      label: "Colours end at percentile",
      min: 90,
      max: 100,
      step: 0.1,
      show: (value) => value.toFixed(1),
      hint: "Values beyond this percentile of the absolute values take the colour at the end of the scale.",
    }),
    choiceOf(model, "palette", "Colours", { "blue-orange": "Blue – orange", "purple-green": "Purple – green" }),
  ];
  return {
    el: h("div", { class: "rl-display" }, ...parts.map((part) => part.el)),
    destroy: () => parts.forEach((part) => part.destroy()),
  };
}
