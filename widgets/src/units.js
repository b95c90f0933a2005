// A layer without extent in space: its strongest neurons as bars left and right of zero.

import { css } from "./colour.js";
import { h, named } from "./dom.js";
import { isolated, number, percent } from "./format.js";
import { numbers } from "./scene.js";

export function createUnits() {
  const rows = h("ol", { class: "rl-units-rows" });
  const caption = h("p", { class: "rl-units-caption" });
  const el = h("div", { class: "rl-units", role: "group", "aria-label": "Strongest neurons of this layer", tabindex: 0 }, caption, rows);
  return {
    el,
    /**
     * @param {import("./scene.js").Units} units
     * @param {import("./colour.js").Scheme} scheme
     * @param {import("./colour.js").Sign} sign
     */
    draw(units, scheme, sign) {
      const values = numbers(units.values);
      const total = units.positive + units.negative;
      const shown = units.indices
        .map((index, i) => ({ index, value: values[i] ?? 0, label: units.labels?.[i] ?? `neuron ${index}` }))
        .filter(({ value }) => value !== 0 && (sign === "both" || value > 0 === (sign === "positive")));
      const peak = Math.max(...shown.map(({ value }) => Math.abs(value)), 0);
      caption.textContent = shown.length
        ? `This layer has no extent in space. Its ${shown.length === 1 ? "one active neuron" : `${shown.length} strongest of ${units.size} neurons`}:`
        : `No neuron of this layer has ${sign === "both" ? "" : `${sign} `}relevance.`;
      rows.replaceChildren(
        ...shown.map(({ value, label }) => {
          const bar = h("span", { class: "rl-unit-bar" });
          bar.style.background = css(value, peak, scheme);
          bar.style.width = `${(50 * Math.abs(value)) / peak}%`;
          bar.style[value < 0 ? "right" : "left"] = "50%";
          return h(
            "li",
            { title: `${isolated(label)}: ${percent(total ? value / total : 0)} of the total` },
            h("span", { class: "rl-unit-name" }, named(label)),
            h("span", { class: "rl-unit-track", "aria-hidden": "true" }, bar),
            h("span", { class: "rl-unit-value", text: number(value, { plus: true }) }),
          );
        }),
      );
    },
  };
}
