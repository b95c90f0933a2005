// Native fields bound to the model: sliders, one-of-several buttons, switches.

import { fresh, h, watch } from "./dom.js";

/** @typedef {import("./dom.js").Model} Model */
/** @typedef {import("./dom.js").View} View */

/**
 * @param {Model} model
 * @param {{key: string, label: string, min: number, max: number, step: number, show: (value: number) => string, hint?: string}} options
 * @returns {View}
 */
export function slider(model, { key, label, min, max, step, show, hint }) {
  const id = fresh(key);
  const output = h("output", { class: "rl-value", for: id });
  const input = h("input", {
    id,
    type: "range",
    class: "rl-range",
    min,
    max,
    step,
    // JupyterLab takes arrow keys away from any element without this mark.
    "data-lm-suppress-shortcuts": "true",
    oninput: () => model.set(key, Number(input.value)),
  });
  const el = h("div", { class: "rl-field", title: hint }, h("label", { for: id, text: label }), output, input);
  const destroy = watch(model, [key], () => {
    const value = Number(model.get(key));
    input.value = String(value);
    input.style.setProperty("--at", `${((value - min) / (max - min)) * 100}%`);
    output.textContent = show(value);
    input.setAttribute("aria-valuetext", show(value));
  });
  return { el, destroy };
}

/**
 * One of several, as a row of radio buttons.
 * @param {Model} model
 * @param {{key: string, label: string, options: {value: string, text: string}[], hidden?: boolean}} options
 * @returns {View}
 */
export function choice(model, { key, label, options, hidden = false }) {
  const name = fresh(key);
  const inputs = options.map(({ value }) =>
    h("input", {
      type: "radio",
      name,
      value,
      "data-lm-suppress-shortcuts": "true",
      onchange: () => model.set(key, value),
    }),
  );
  const el = h(
    "fieldset",
    { class: "rl-choice" },
    h("legend", { text: label, class: hidden ? "rl-hidden" : null }),
    h("div", { class: "rl-options" }, ...options.map(({ text }, i) => h("label", {}, inputs[i] ?? null, h("span", { text })))),
  );
  const destroy = watch(model, [key], () => {
    for (const input of inputs) input.checked = input.value === model.get(key);
  });
  return { el, destroy };
}

/**
 * @param {Model} model
 * @param {{key: string, label: string, hint?: string}} options
 * @returns {View}
 */
export function toggle(model, { key, label, hint }) {
  const input = h("input", { type: "checkbox", onchange: () => model.set(key, input.checked) });
  const el = h("label", { class: "rl-toggle", title: hint }, input, h("span", { text: label }));
  const destroy = watch(model, [key], () => {
    input.checked = Boolean(model.get(key));
  });
  return { el, destroy };
}

/**
 * @param {string} text
 * @param {() => void} onclick
 * @param {{label?: string, kind?: string}} [options]
 */
export function button(text, onclick, { label, kind = "" } = {}) {
  return h("button", { type: "button", class: `rl-button ${kind}`, "aria-label": label, title: label, text, onclick });
}
