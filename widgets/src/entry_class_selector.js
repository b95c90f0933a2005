// The ClassSelector as an anywidget: alone, it chooses any class and leaves explaining to whoever listens.

import { askOf, keyOf } from "./ask.js";
import { bridge } from "./bridge.js";
import { createClasses } from "./classes.js";
import { framed, localState } from "./explorer.js";
import { current } from "./overlay.js";
import { targetOf } from "./scene.js";

/** @param {{model: import("./dom.js").Model, el: HTMLElement}} context */
function render({ model, el }) {
  const state = bridge(model, ["scene", "image", "method", "target", "k", "categories"], ["target", "k"]);
  const ask = askOf(state, () => current(state));
  const asked = {
    ...ask,
    live: true,
    want: (/** @type {string} */ _method, /** @type {import("./ask.js").Wanted} */ target) => state.set("target", keyOf(target)),
  };
  const classes = createClasses(state, asked, () => {
    const now = current(state);
    return now && (targetOf(state.get("target"), now.picture, state.get("categories")) ?? now.target);
  });
  const view = framed(localState(), [classes], classes.el);
  el.append(view.el);
  return view.destroy;
}

export default { render };
