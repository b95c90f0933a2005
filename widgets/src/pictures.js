// The user's own picture: opened, dropped or pasted.

import { button } from "./controls.js";
import { h } from "./dom.js";

/**
 * @param {HTMLElement} area where pictures may be dropped, and pasted while something in it has the focus
 * @param {import("./ask.js").Ask} ask
 */
export function createOpener(area, ask) {
  const input = h("input", {
    type: "file",
    accept: "image/*",
    multiple: true,
    hidden: true,
    onchange: () => {
      void ask.images([...(input.files ?? [])]);
      input.value = "";
    },
  });
  const open = button("Open pictures …", () => input.click());
  const el = h("div", { class: "rl-opener" }, open, h("span", { class: "rl-hint", text: "or drop or paste them here" }), input);

  /** @param {DataTransfer | null} data @param {Event} event */
  function take(data, event) {
    // Whatever is dropped is taken, also to say that it is no picture: the browser would leave the page for it.
    const files = [...(data?.files ?? [])];
    if (!files.length) return;
    event.preventDefault();
    event.stopPropagation();
    void ask.images(files);
  }
  area.addEventListener("dragover", (event) => {
    if (!event.dataTransfer?.types.includes("Files")) return;
    event.preventDefault();
    area.classList.add("rl-dropping");
  });
  area.addEventListener("dragleave", () => area.classList.remove("rl-dropping"));
  area.addEventListener("drop", (event) => {
    area.classList.remove("rl-dropping");
    take(event.dataTransfer, event);
  });
  area.addEventListener("paste", (event) => {
    // What is copied from a table or a page is text and a picture of it: a field for text takes the text.
    const field = /** @type {Element} */ (event.target).matches("input[type=search], input[type=number]");
    if (!field || !event.clipboardData?.types.includes("text/plain")) take(event.clipboardData, event);
  });
  return el;
}
