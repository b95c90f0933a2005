// The ComparisonGrid as an anywidget.

import { askOf } from "./ask.js";
import { bridge } from "./bridge.js";
import { createPictures, createTold, framed, localState } from "./explorer.js";
import { createGrid } from "./grid.js";
import { createInstead } from "./instead.js";
import { current } from "./overlay.js";

const KEYS = "scene image method target layer opacity view sign clip smooth palette across scale live busy progress status error heard categories".split(" ");

/** @param {{model: import("./dom.js").Model, el: HTMLElement}} context */
function render({ model, el }) {
  const local = localState();
  const state = bridge(model, KEYS, ["image", "method", "target"]);
  const grid = createGrid(state, local, askOf(state, () => current(state)));
  const told = createTold(state);
  const instead = createInstead(state, { keys: ["across"], applies: () => state.get("across") === "methods" });
  const pictures = createPictures(state);
  pictures.el.hidden = state.get("scene").images.length < 2;
  const view = framed(local, [told, instead, grid, pictures], told.el, pictures.el, instead.el, grid.el);
  el.append(view.el);
  return view.destroy;
}

export default { render };
