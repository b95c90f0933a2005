// Between a widget's model and its views. Views of one widget share a state in the browser; only what is meant for the
// kernel reaches it.

import { StandIn } from "./standin.js";

/** @typedef {import("./dom.js").Model} Model */

/**
 * A module that anywidget loads for each widget. It makes the widget's state once, with a model that lives as long as the
 * widget: that of a view loses its listeners with the view.
 * @param {string[]} keys what the widget's Python half declares
 * @param {string[]} saved of these, what Python is told when the browser changes it
 * @param {(state: StandIn) => import("./dom.js").View} show
 * @param {(state: StandIn) => void} [begin] what hears the kernel also before there is a view
 */
export function widget(keys, saved, show, begin) {
  return () => {
    /** @type {StandIn} */
    let state;
    return {
      /** @param {{model: Model}} context */
      initialize({ model }) {
        state = bridge(model, keys, saved);
        begin?.(state);
      },
      /** @param {{el: HTMLElement}} context */
      render({ el }) {
        const view = show(state);
        el.append(view.el);
        return view.destroy;
      },
    };
  };
}

/**
 * The state that all views of a widget share.
 * @param {Model} model
 * @param {string[]} keys
 * @param {string[]} saved
 */
export function bridge(model, keys, saved) {
  const state = new StandIn(Object.fromEntries(keys.map((key) => [key, model.get(key)])));
  for (const key of keys) model.on(`change:${key}`, () => state.set(key, model.get(key)));
  for (const key of saved) {
    state.on(`change:${key}`, () => {
      if (model.get(key) === state.get(key)) return;
      model.set(key, state.get(key));
      model.save_changes();
    });
  }
  // As ipywidgets says that a kernel is gone, or is there.
  model.on("comm_live_update", () => state.set("connection", {}));
  state.send = (message, callbacks, buffers) => model.send(message, callbacks, buffers);
  model.on("msg:custom", (message, buffers) => {
    // What is set in Python to what it is there, while the browser has moved it.
    if (message.kind !== "set") state.tell(message, buffers);
    else if (keys.includes(message.key)) state.set(message.key, message.value);
  });
  return state;
}
