// The LayerSlider as an anywidget.

import { bridge } from "./bridge.js";
import { framed, localState } from "./explorer.js";
import { createLayers } from "./layers.js";

/** @param {{model: import("./dom.js").Model, el: HTMLElement}} context */
function render({ model, el }) {
  const local = localState();
  const layers = createLayers(bridge(model, ["scene", "image", "method", "target", "layer", "palette"], ["layer"]), local);
  const view = framed(local, [layers], layers.el);
  el.append(view.el);
  return view.destroy;
}

export default { render };
