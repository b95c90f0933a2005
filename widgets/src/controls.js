// Native fields bound to the model: sliders, one-of-several buttons, switches.

import { fresh, h, named, watch } from "./dom.js";

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
 * @param {object} options
 * @param {string} options.label
 * @param {() => {value: string, text: string}[]} options.options read again when one of `keys` changes
 * @param {() => string} options.value
 * @param {(value: string) => void} options.pick
 * @param {string[]} options.keys what options and value depend on
 * @returns {View}
 */
export function choice(model, { label, options, value, pick, keys }) {
  const name = fresh("choice");
  const row = h("div", { class: "rl-options" });
  const el = h("fieldset", { class: "rl-choice" }, h("legend", { text: label }), row);
  let shown = "";
  const destroy = watch(model, keys, () => {
    const listed = options();
    const signature = JSON.stringify(listed);
    // Built anew only if something else is offered: otherwise the focus would be lost.
    if (signature !== shown) {
      shown = signature;
      row.replaceChildren(
        ...listed.map((each) =>
          h(
            "label",
            {},
            h("input", {
              type: "radio",
              name,
              value: each.value,
              onchange: () => {
                pick(each.value);
                check();
              },
            }),
            named(each.text),
          ),
        ),
      );
    }
    check();
  });
  /** Show what holds, which is not always what was clicked: the kernel may have to be asked first. */
  function check() {
    for (const input of row.querySelectorAll("input")) input.checked = input.value === value();
  }
  return { el, destroy };
}

/**
 * One of several values of a key.
 * @param {Model} model
 * @param {string} key
 * @param {string} label
 * @param {Record<string, string>} options text by value
 * @returns {View}
 */
export function choiceOf(model, key, label, options) {
  const listed = Object.entries(options).map(([value, text]) => ({ value, text }));
  return choice(model, {
    label,
    options: () => listed,
    value: () => model.get(key),
    pick: (value) => model.set(key, value),
    keys: [key],
  });
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
