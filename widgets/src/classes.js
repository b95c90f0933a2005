// The class selector: probability bars, one to be chosen.

import { h, fresh, watch } from "./dom.js";
import { percent } from "./format.js";
import { current } from "./overlay.js";

/** @typedef {import("./dom.js").Model} Model */

/**
 * @param {Model} model
 * @returns {import("./dom.js").View}
 */
export function createClasses(model) {
  const label = fresh("classes");
  const list = h("div", {
    class: "rl-classes",
    role: "listbox",
    tabindex: 0,
    "aria-labelledby": label,
    "data-lm-suppress-shortcuts": "true",
    onkeydown: onKey,
  });
  const others = h("ul", { class: "rl-others", "aria-label": "Other classes, not explained here" });
  const el = h("section", { class: "rl-panel" }, h("div", { id: label, class: "rl-label", text: "Class" }), list, others);
  /** @type {string[]} */
  let keys = [];

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const at = keys.indexOf(current(model)?.target.key ?? "");
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: keys.length - 1, Enter: at, " ": at }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    const key = keys[Math.max(0, Math.min(keys.length - 1, to))];
    if (key !== undefined) model.set("target", key);
  }

  const stop = watch(model, ["scene", "image", "method", "target"], () => {
    const now = current(model);
    if (!now) return;
    const { picture, result, target } = now;
    const targets = picture.targets.filter(({ key }) => result.targets[key]);
    keys = targets.map(({ key }) => key);
    const ids = targets.map(() => fresh("class"));
    list.replaceChildren(
      ...targets.map((each, i) =>
        h(
          "div",
          {
            id: ids[i],
            class: "rl-class",
            role: "option",
            "aria-selected": each.key === target.key ? "true" : "false",
            onclick: () => model.set("target", each.key),
          },
          ...row(each.label, each.probability),
        ),
      ),
    );
    list.setAttribute("aria-activedescendant", ids[keys.indexOf(target.key)] ?? "");
    const explained = new Set(targets.filter(({ negative }) => negative < 0).map(({ index }) => index));
    const rest = picture.classes.filter(({ index }) => !explained.has(index)).slice(0, Math.max(0, 5 - targets.length));
    others.hidden = rest.length === 0;
    others.replaceChildren(...rest.map((each) => h("li", { class: "rl-class" }, ...row(each.label, each.probability))));
  });
  return { el, destroy: stop };
}

/**
 * @param {string} label
 * @param {number | null} probability null for a contrast
 */
function row(label, probability) {
  const bar = h("span", { class: "rl-class-bar", "aria-hidden": "true" });
  bar.style.setProperty("--share", String(probability ?? 0));
  return [
    h("span", { class: "rl-class-name", text: label }),
    h("span", { class: "rl-class-share", text: probability === null ? "contrast" : percent(probability) }),
    bar,
  ];
}
