// The LayerSlider as an anywidget.

import { widget } from "./bridge.js";
import { framed, localState } from "./explorer.js";
import { createInstead } from "./instead.js";
import { createLayers } from "./layers.js";

const KEYS = ["scene", "image", "method", "target", "layer", "palette", "categories"];

/** @param {import("./standin.js").StandIn} state */
function show(state) {
  const local = localState();
  const instead = createInstead(state);
  const layers = createLayers(state, local, instead.el);
  return framed(local, [instead, layers], layers.el);
}

export default widget(KEYS, ["layer"], show);
