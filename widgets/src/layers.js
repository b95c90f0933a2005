// The layer slider: the whole network from input to logits, one column a layer, and the ledger line of the chosen one.

import { css } from "./colour.js";
import { fresh, h, named, watch } from "./dom.js";
import { extents, isolated, number, percent } from "./format.js";
import { positiveShare } from "./measure.js";
import { current, schemeOf } from "./overlay.js";
import { massesOf } from "./scene.js";

/** @typedef {import("./dom.js").Model} Model */

const SVG = "http://www.w3.org/2000/svg";

/**
 * @param {Model} model
 * @param {Model} local
 * @param {HTMLElement | null} [note] what the figures begin with
 * @returns {import("./dom.js").View}
 */
export function createLayers(model, local, note = null) {
  const id = fresh("layers");
  const chart = document.createElementNS(SVG, "svg");
  chart.setAttribute("class", "rl-layers-chart");
  chart.setAttribute("preserveAspectRatio", "none");
  chart.setAttribute("aria-hidden", "true");
  const input = h("input", {
    id,
    type: "range",
    min: 0,
    step: 1,
    class: "rl-layers-range",
    oninput: () => {
      const layer = current(model)?.result.layers[Number(input.value)];
      if (layer) model.set("layer", layer.name);
    },
  });
  const name = h("span", { class: "rl-layer-name" });
  const about = h("span", { class: "rl-layer-about" });
  const ledger = h("dl", { class: "rl-ledger" });
  const track = h("div", { class: "rl-layers-track" }, input, chart, h("div", { class: "rl-layers-mark" }));
  const el = h(
    "section",
    { class: "rl-panel rl-layers" },
    h(
      "div",
      { class: "rl-layers-head" },
      h("label", { class: "rl-label", for: id, text: "Layer" }),
      h("span", { class: "rl-layer-now" }, name, about),
    ),
    track,
    h("div", { class: "rl-layers-ends", "aria-hidden": "true" }, h("span", { text: "input" }), h("span", { text: "logits" })),
    note,
    ledger,
  );

  /** One column a layer: the part of its relevance that is positive above the line, negative below. */
  function columns() {
    const now = current(model);
    if (!now) return;
    const count = now.result.layers.length;
    const scheme = schemeOf(model, local);
    chart.setAttribute("viewBox", `0 0 ${count} 2`);
    const gap = count > 60 ? 0.12 : 0.18;
    chart.replaceChildren(
      ...now.explained.pieces.flatMap((piece, i) => {
        const masses = massesOf(piece);
        const share = positiveShare(masses);
        const some = masses.positive + masses.negative > 0;
        return [
          rectangle("", i + gap / 2, 1 - share, 1 - gap, some ? share : 0, css(0.62, 1, scheme)),
          rectangle("", i + gap / 2, 1, 1 - gap, some ? 1 - share : 0, css(-0.62, 1, scheme)),
        ];
      }),
      rectangle("rl-column-zero", 0, 0.99, count, 0.02),
    );
    track.style.setProperty("--count", String(count));
    input.max = String(count - 1);
  }

  function mark() {
    const now = current(model);
    if (!now) return;
    const { layer, depth, explained, result, piece } = now;
    input.value = String(depth);
    input.setAttribute("aria-valuetext", `${isolated(layer.name)}, ${depth + 1} of ${result.layers.length}`);
    track.style.setProperty("--depth", String(depth));
    name.replaceChildren(named(layer.name));
    const op = layer.op === layer.name ? "" : layer.op;
    const size = extents(layer.shape);
    about.replaceChildren(...(op ? [named(op)] : []), op && size ? " · " : "", size);
    const line = explained.ledger[layer.name];
    const masses = massesOf(piece);
    const entries = /** @type {[string, string, string][]} */ (
      line
        ? [
            ["Relevance in", number(line.relevance_in, { plus: true }), "Sum of the relevance on the side of the input"],
            ["Relevance out", number(line.relevance_out, { plus: true }), "Sum of the relevance on the side of the logits"],
            ["Bias", number(line.bias, { plus: true }), "Relevance taken up by biases"],
            ["Factor", number(line.factor), "What is passed on, divided by what came"],
          ]
        : [["Sum", number(masses.positive - masses.negative, { plus: true }), "Sum of the relevance at this depth"]]
    );
    entries.push(["Positive", percent(positiveShare(masses)), "Positive part of the relevance at this depth; of maps, of the sums over channels"]);
    ledger.replaceChildren(
      ...entries.map(([term, text, title]) => h("div", { title }, h("dt", { text: term }), h("dd", { text }))),
    );
  }

  const stops = [
    watch(model, ["scene", "image", "method", "target", "palette"], columns),
    watch(local, ["theme"], () => {
      columns();
      mark();
    }),
    watch(model, ["scene", "image", "method", "target", "layer"], mark),
  ];
  return { el, destroy: () => stops.forEach((stop) => stop()) };
}

/**
 * @param {string} name
 * @param {number} x
 * @param {number} y
 * @param {number} width
 * @param {number} height
 * @param {string} [fill]
 */
function rectangle(name, x, y, width, height, fill) {
  const rect = document.createElementNS(SVG, "rect");
  for (const [key, value] of Object.entries({ x, y, width, height })) rect.setAttribute(key, String(value));
  if (name) rect.setAttribute("class", name);
  if (fill) rect.setAttribute("fill", fill);
  return rect;
}
