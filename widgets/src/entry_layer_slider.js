// The LayerSlider as an anywidget.

import { bridge } from "./bridge.js";
import { framed, localState } from "./explorer.js";
import { createInstead } from "./instead.js";
import { createLayers } from "./layers.js";

/** @param {{model: import("./dom.js").Model, el: HTMLElement}} context */
function render({ model, el }) {
  const local = localState();
  const state = bridge(model, ["scene", "image", "method", "target", "layer", "palette", "categories"], ["layer"]);
  const instead = createInstead(state);
  const layers = createLayers(state, local, instead.el);
  const view = framed(local, [instead, layers], layers.el);
  el.append(view.el);
  return view.destroy;
}

export default { render };
