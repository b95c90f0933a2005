// The Explorer as an anywidget.

import { bridge } from "./bridge.js";
import { createExplorer } from "./explorer.js";

const KEYS = (
  "scene image method target layer opacity view sign clip smooth palette across scale live offered categories max_bytes k " +
  "busy progress status error heard"
).split(" ");

/** @param {{model: import("./dom.js").Model, el: HTMLElement}} context */
function render({ model, el }) {
  const view = createExplorer(bridge(model, KEYS));
  el.append(view.el);
  return view.destroy;
}

export default { render };
