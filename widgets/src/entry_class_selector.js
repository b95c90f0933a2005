// The ClassSelector as an anywidget: alone, it chooses any class and leaves explaining to whoever listens.

import { askOf, keyOf } from "./ask.js";
import { widget } from "./bridge.js";
import { createClasses } from "./classes.js";
import { framed, localState } from "./explorer.js";
import { current } from "./overlay.js";
import { targetOf } from "./scene.js";

const KEYS = ["scene", "image", "method", "target", "k", "categories"];

/** @param {import("./standin.js").StandIn} state */
function show(state) {
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
  return framed(localState(), [classes], classes.el);
}

export default widget(KEYS, ["target", "k"], show);
