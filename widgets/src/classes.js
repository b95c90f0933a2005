// The class selector: probability bars, one to be chosen; any class by its name; a second one for a contrast.

import { h, fresh, named, watch } from "./dom.js";
import { isolated, saying } from "./format.js";
import { clamp } from "./geometry.js";
import { current } from "./overlay.js";
import { classShares, classesCalled } from "./scene.js";

/** @typedef {import("./dom.js").Model} Model */
/** @typedef {{key: string, index: number, negative: number, label: string, probability: number | null, output?: number}} Row */

const MAX_BARS = 20;
const MAX_NAMED = 6;

/**
 * @param {Model} model
 * @param {import("./ask.js").Ask} ask
 * @param {() => Row | null} chosen the class on show, unless it can be one that was not explained
 * @returns {import("./dom.js").View}
 */
export function createClasses(model, ask, chosen = () => current(model)?.target ?? null) {
  const label = fresh("classes");
  /** @type {Row[]} */
  let rows = [];
  /** The row that the arrow keys are at: not the chosen one while its map is not there. */
  let at = 0;
  /** Labels that several classes have, as ImageNet's two cranes. @type {Set<string>} */
  let alike = new Set();
  const list = h("div", {
    class: "rl-classes",
    role: "listbox",
    tabindex: 0,
    "aria-labelledby": label,
    onkeydown: onKey,
  });
  const others = h("ul", { class: "rl-others", "aria-label": "Other classes, not explained here" });
  const bars = h("input", {
    type: "number",
    min: 1,
    max: MAX_BARS,
    // Not onchange: JupyterLab keeps the Enter key to itself.
    oninput: () => {
      const wanted = Math.round(Number(bars.value));
      if (wanted >= 1) model.set("k", Math.min(wanted, MAX_BARS));
    },
  });
  const names = h("datalist", { id: fresh("names") });
  const search = h("input", {
    type: "search",
    list: names.id,
    placeholder: "Any class by name",
    "aria-label": "Explain any class by its name",
    autocomplete: "off",
    onchange: find,
    oninput: () => answer(""),
    onkeydown: (/** @type {KeyboardEvent} */ event) => event.key === "Enter" && find(),
  });
  const said = h("p", { id: fresh("said"), class: "rl-hint", role: "status", hidden: true });
  search.setAttribute("aria-describedby", said.id);
  const against = h("select", { "aria-label": "Contrast with", onchange: contrast });
  const more = h(
    "div",
    { class: "rl-more" },
    search,
    names,
    said,
    h("label", {}, h("span", { text: "Against" }), against),
    h("label", {}, h("span", { text: "Bars" }), bars),
  );
  more.hidden = !ask.live;
  const el = h("section", { class: "rl-panel" }, h("div", { id: label, class: "rl-label", text: "Class" }), list, others, more);

  /** @param {Row} row */
  function pick(row) {
    ask.want(current(model)?.result.method ?? "", row);
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    const steps = /** @type {Record<string, number>} */ ({ ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 });
    const to = steps[event.key];
    const row = rows[clamp(to ?? at, 0, rows.length - 1)];
    if (!row || (to === undefined && event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    event.stopPropagation();
    at = rows.indexOf(row);
    // Arrows show what is there; only Enter asks for what has to be computed.
    if (to === undefined || ask.computed(current(model)?.result.method ?? "", row.key)) pick(row);
    draw();
  }

  function find() {
    const wanted = search.value.trim();
    const picture = current(model)?.picture;
    if (!wanted || !picture) return;
    const [found, ...others] = classesCalled(classShares(picture, model.get("categories") ?? []), wanted);
    if (!found) return answer(`No class is called “${isolated(wanted)}”. Write a part of its name, or its number.`);
    if (others.length) {
      const several = [found, ...others];
      const listed = several.slice(0, MAX_NAMED).map(({ index, label }) => `${isolated(label)} (${index})`);
      const beyond = several.length > MAX_NAMED ? ` and ${several.length - MAX_NAMED} more` : "";
      return answer(`“${isolated(wanted)}” can be ${listed.join(", ")}${beyond}. Write the whole name, or the number.`);
    }
    answer("");
    search.value = "";
    pick({ ...found, key: String(found.index), negative: -1 });
  }

  /** What the search says where it does not find one class. @param {string} words */
  function answer(words) {
    said.textContent = words;
    said.hidden = !words;
    search.setAttribute("aria-invalid", String(Boolean(words)));
  }

  function contrast() {
    const now = chosen();
    const negative = Number(against.value);
    if (!now || negative === now.negative) return;
    const name = against.selectedOptions[0]?.textContent ?? "";
    const own = now.negative < 0 ? now.label : (rows.find((row) => row.key === String(now.index))?.label ?? now.label);
    pick({ key: "", index: now.index, negative, label: negative < 0 ? own : `${own} − ${name}`, probability: null });
  }

  function fill() {
    const now = current(model);
    const target = chosen();
    if (!now || !target) return;
    const { picture, result } = now;
    const explained = picture.targets.filter(({ key }) => result.targets[key]);
    const keys = new Set(explained.map(({ key }) => key));
    const likeliest = classShares(picture, model.get("categories") ?? []);
    const top = likeliest.slice(0, model.get("k") ?? explained.length).map((each) => ({ ...each, key: String(each.index), negative: -1 }));
    const seen = new Set();
    alike = new Set();
    for (const each of likeliest) (seen.has(each.label) ? alike : seen).add(each.label);
    rows = ask.live ? [...top, ...picture.targets.filter(({ key }) => !top.some((row) => row.key === key))] : explained;
    if (!rows.some(({ key }) => key === target.key)) rows = [...rows, target];
    const rest = ask.live ? [] : likeliest.filter(({ index }) => !keys.has(String(index))).slice(0, Math.max(0, 5 - rows.length));
    others.hidden = rest.length === 0;
    others.replaceChildren(...rest.map((each) => h("li", { class: "rl-class" }, ...bar({ ...each, label: numbered(each), negative: -1 }))));
    at = Math.max(
      0,
      rows.findIndex(({ key }) => key === target.key),
    );
    bars.value = String(model.get("k") ?? rows.length);
    const seconds = likeliest.slice(0, MAX_BARS).filter(({ index }) => index !== target.index);
    against.replaceChildren(
      h("option", { value: -1, text: "nothing" }),
      ...seconds.map((each) => h("option", { value: each.index, text: numbered(each) })),
    );
    against.value = String(target.negative);
    draw();
  }

  /** The name of a class, with its number where another has the same. @param {{index: number, label: string}} of */
  function numbered({ index, label }) {
    return alike.has(label) ? `${label} (${index})` : label;
  }

  function draw() {
    const now = current(model);
    const target = chosen();
    if (!now || !target) return;
    const ids = rows.map(() => fresh("class"));
    list.replaceChildren(
      ...rows.map((row, i) =>
        h(
          "div",
          {
            id: ids[i],
            class: ask.computed(now.result.method, row.key) ? "rl-class" : "rl-class rl-absent",
            role: "option",
            "aria-selected": row.key === target.key ? "true" : "false",
            "data-at": i === at,
            title: ask.computed(now.result.method, row.key) ? null : "Click or press Enter to explain this class",
            onclick: () => pick(row),
          },
          ...bar(row.negative < 0 ? { ...row, label: numbered(row) } : row),
        ),
      ),
    );
    list.setAttribute("aria-activedescendant", ids[at] ?? "");
  }

  const stops = [
    watch(model, ["scene", "image", "method", "target", "k", "categories"], fill),
    watch(model, ["categories"], () =>
      names.replaceChildren(...(ask.live ? (model.get("categories") ?? []) : []).map((/** @type {string} */ value) => h("option", { value }))),
    ),
  ];
  return { el, destroy: () => stops.forEach((stop) => stop()) };
}

/** @param {{label: string, negative: number, probability: number | null, output?: number}} row a contrast and a seed have no probability */
function bar({ label, negative, probability, output }) {
  const without = negative < 0 ? "–" : "contrast";
  const part = h("span", { class: "rl-class-bar", "aria-hidden": "true" });
  part.style.setProperty("--share", String(probability ?? 0));
  return [
    h("span", { class: "rl-class-name" }, named(label)),
    h("span", { class: "rl-class-share", text: saying({ probability, output }) ?? without }),
    part,
  ];
}
