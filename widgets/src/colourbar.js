// The colour bar: the scale in colours, its ends and zero in numbers.

import { css } from "./colour.js";
import { h } from "./dom.js";
import { number } from "./format.js";
import { canvasOf, context } from "./photo.js";

export function createColourBar() {
  const canvas = canvasOf(255, 1);
  canvas.className = "rl-bar-canvas";
  const mark = h("div", { class: "rl-bar-mark", hidden: true });
  const low = h("span", {});
  const high = h("span", {});
  const el = h(
    "div",
    { class: "rl-bar", role: "img" },
    h("div", { class: "rl-bar-scale" }, canvas, mark),
    h("div", { class: "rl-bar-numbers", "aria-hidden": "true" }, low, h("span", { text: "0" }), high),
  );
  return {
    el,
    /**
     * @param {number} limit
     * @param {import("./colour.js").Scheme} scheme
     * @param {import("./colour.js").Sign} sign
     * @param {number | null} value marked on the scale
     */
    draw(limit, scheme, sign, value) {
      const pen = context(canvas);
      for (let i = 0; i < 255; i++) {
        const at = i - 127;
        const hidden = (sign === "positive" && at < 0) || (sign === "negative" && at > 0);
        pen.fillStyle = css(hidden ? 0 : at, 127, scheme);
        pen.fillRect(i, 0, 1, 1);
      }
      low.textContent = number(-limit);
      high.textContent = number(limit, { plus: true });
      el.setAttribute("aria-label", `Colour scale from ${number(-limit)} through 0 to ${number(limit, { plus: true })}`);
      mark.hidden = value === null || limit === 0;
      if (value !== null && limit > 0) {
        mark.style.left = `${50 + 50 * Math.max(-1, Math.min(1, value / limit))}%`;
      }
    },
  };
}
