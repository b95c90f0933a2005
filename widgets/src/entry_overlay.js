// The Overlay as an anywidget: the picture, and beside it how it is shown.

import { widget } from "./bridge.js";
import { h } from "./dom.js";
import { createSmooth, framed, localState } from "./explorer.js";
import { createInstead } from "./instead.js";
import { createDisplay, createOverlay } from "./overlay.js";

const KEYS = "scene image method target layer opacity view sign clip smooth palette categories".split(" ");

/** @param {import("./standin.js").StandIn} state */
function show(state) {
  const local = localState();
  const instead = createInstead(state);
  const overlay = createOverlay(state, local, instead.el);
  const display = createDisplay(state);
  const smooth = createSmooth(state);
  const side = h("div", { class: "rl-side" }, h("section", { class: "rl-panel", "aria-label": "Display" }, display.el, smooth.el));
  return framed(local, [instead, overlay, display, smooth], h("div", { class: "rl-main" }, overlay.el, side));
}

export default widget(KEYS, [], show);
