// The ComparisonGrid as an anywidget.

import { bridge } from "./bridge.js";
import { createPictures, framed, localState } from "./explorer.js";
import { createGrid } from "./grid.js";

const KEYS = "scene image method target layer opacity view sign clip smooth palette across scale".split(" ");

/** @param {{model: import("./dom.js").Model, el: HTMLElement}} context */
function render({ model, el }) {
  const local = localState();
  const state = bridge(model, KEYS, ["image", "method", "target"]);
  const grid = createGrid(state, local);
  const pictures = createPictures(state);
  pictures.el.hidden = state.get("scene").images.length < 2;
  const view = framed(local, [grid, pictures], pictures.el, grid.el);
  el.append(view.el);
  return view.destroy;
}

export default { render };
