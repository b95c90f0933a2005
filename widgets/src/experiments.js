// What only a kernel can answer: a region covered and the network asked again, and the channels of a layer.

import { css, paint } from "./colour.js";
import { button } from "./controls.js";
import { h, named, watch } from "./dom.js";
import { number, percent, saying } from "./format.js";
import { current, schemeOf } from "./overlay.js";
import { canvasOf, context } from "./photo.js";
import { isUnits, limitOf, massesOf, methodTitle, numbers } from "./scene.js";

/** @typedef {import("./dom.js").Model} Model */

/**
 * Draw a rectangle: the change in probability, next to the relevance that lies in it.
 * @param {Model} model
 * @param {Model} local
 * @param {import("./ask.js").Ask} ask
 * @returns {import("./dom.js").View}
 */
export function createCover(model, local, ask) {
  const toggle = button("Cover a region", () => {
    const on = local.get("tool") !== "cover";
    local.set("tool", on ? "cover" : "");
    if (!on) {
      local.set("box", null);
      if (own()) model.set("covered", null);
    }
  });
  // The answer for the rectangle of this view: all views of a widget share what the kernel says.
  const own = () => {
    /** @type {import("./ask.js").Covered | null} */
    const covered = model.get("covered") ?? null;
    return covered?.box === local.get("drawn") ? covered : null;
  };
  const hint = h("p", {
    class: "rl-hint",
    text: "Drag a rectangle over the picture. By keyboard: move the cursor with the arrow keys and press Space at two corners.",
  });
  const result = h("p", { class: "rl-result", role: "status" });
  const el = h("section", { class: "rl-panel", "aria-label": "Cover a region" }, toggle, hint, result);

  const stops = [
    watch(local, ["tool"], () => {
      const on = local.get("tool") === "cover";
      toggle.setAttribute("aria-pressed", String(on));
      hint.hidden = !on;
    }),
    watch(local, ["drawn"], () => {
      const box = local.get("drawn");
      if (box && local.get("tool") === "cover") ask.cover(box);
    }),
    watch(model, ["image"], () => {
      const covered = own();
      local.set("box", covered && covered.image === model.get("image") ? covered.box : null);
    }),
    watch(model, ["covered", "scene", "image", "method", "target"], () => {
      const covered = own();
      result.hidden = !covered || covered.image !== model.get("image");
      if (result.hidden || !covered) return;
      const [before = 0] = covered.before;
      const [after = 0] = covered.after;
      // of one output alone there are no probabilities
      const as = covered.likeliest.some(({ probability }) => probability === null) ? number : percent;
      const now = current(model);
      const heat = now?.explained.pieces[0];
      const inside = heat && !isUnits(heat) ? within(heat, covered.box) : { sum: 0, share: 0 };
      result.replaceChildren(
        h("strong", {}, named(covered.label), `: ${as(before)} → ${as(after)}.`),
        ` The rectangle holds ${percent(inside.share)} of all relevance for `,
        named(now?.target.label ?? ""),
        ` by ${methodTitle(now?.result.method ?? "")} (${number(inside.sum, { plus: true })}). Now likeliest: `,
        ...covered.likeliest.flatMap((each, i) => [i ? ", " : "", named(each.label), ` ${saying(each)}`]),
        ".",
      );
    }),
  ];
  return { el, destroy: () => stops.forEach((stop) => stop()) };
}

/**
 * Relevance in a rectangle: its sum, and its part of the sum of all absolute values.
 * @param {import("./scene.js").Packed} packed
 * @param {import("./ask.js").Box} box
 */
function within(packed, box) {
  const values = numbers(packed);
  const [, columns = 1] = packed.shape;
  let sum = 0;
  let size = 0;
  for (let y = box.top; y < box.bottom; y++) {
    for (let x = box.left; x < box.right; x++) {
      const value = values[y * columns + x] ?? 0;
      sum += value;
      size += Math.abs(value);
    }
  }
  const { positive, negative } = massesOf(packed);
  return { sum, share: positive + negative > 0 ? size / (positive + negative) : 0 };
}

/**
 * The channels of the chosen layer that carry most, each with its map.
 * @param {Model} model
 * @param {Model} local
 * @param {import("./ask.js").Ask} ask
 * @returns {import("./dom.js").View}
 */
export function createChannels(model, local, ask) {
  const rank = button("Rank the channels of this layer", () => ask.channels());
  const caption = h("p", { class: "rl-hint" });
  const row = h("ol", { class: "rl-channels" });
  const el = h("div", { class: "rl-channel-panel" }, rank, caption, row);

  function draw() {
    const now = current(model);
    const possible = Boolean(ask.live && now && now.depth > 0 && !isUnits(now.piece));
    el.hidden = !possible;
    /** @type {import("./ask.js").Channels | null} */
    const found = model.get("channels") ?? null;
    const fits =
      now &&
      found &&
      found.layer === now.layer.name &&
      found.method === now.result.method &&
      found.target === now.target.key &&
      found.image === model.get("image");
    rank.hidden = Boolean(fits);
    caption.hidden = row.hidden = !fits;
    if (!fits || !possible) return;
    caption.textContent = `The ${found.channels.length} strongest of ${found.count} channels, each on its own scale, with its sum:`;
    row.replaceChildren(...found.channels.map((each) => channel(each, schemeOf(model, local))));
  }

  const stops = [
    watch(model, ["scene", "image", "method", "target", "layer", "channels", "palette"], draw),
    watch(local, ["theme"], draw),
  ];
  return { el, destroy: () => stops.forEach((stop) => stop()) };
}

/**
 * @param {import("./ask.js").Channels["channels"][number]} channel
 * @param {import("./colour.js").Scheme} scheme
 */
function channel({ index, sum, map }, scheme) {
  const [rows = 1, columns = 1] = map.shape;
  const canvas = canvasOf(columns, rows);
  const image = new ImageData(columns, rows);
  paint(numbers(map), limitOf(map, 100), { ...scheme, sign: "both", cover: "even" }, image.data);
  context(canvas).putImageData(image, 0, 0);
  canvas.setAttribute("aria-hidden", "true");
  const dot = h("span", { class: "rl-channel-sum", text: number(sum, { plus: true }) });
  dot.style.borderColor = css(Math.sign(sum) * 0.62, 1, scheme);
  return h("li", {}, canvas, h("span", { text: `channel ${index}` }), dot);
}
