// The ComparisonGrid as an anywidget.

import { askOf } from "./ask.js";
import { widget } from "./bridge.js";
import { createPictures, createTold, framed, localState } from "./explorer.js";
import { createGrid } from "./grid.js";
import { createInstead } from "./instead.js";
import { current } from "./overlay.js";

const KEYS = "scene image method target layer opacity view sign clip smooth palette across scale live busy progress status error heard categories".split(" ");

/** @param {import("./standin.js").StandIn} state */
function askFor(state) {
  return askOf(state, () => current(state));
}

/** @param {import("./standin.js").StandIn} state */
function show(state) {
  const local = localState();
  const grid = createGrid(state, local, askFor(state));
  const told = createTold(state);
  const instead = createInstead(state, { keys: ["across"], applies: () => state.get("across") === "methods" });
  const pictures = createPictures(state);
  pictures.el.hidden = state.get("scene").images.length < 2;
  return framed(local, [told, instead, grid, pictures], told.el, pictures.el, instead.el, grid.el);
}

export default widget(KEYS, ["image", "method", "target"], show, askFor);
