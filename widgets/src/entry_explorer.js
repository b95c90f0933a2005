// The Explorer as an anywidget.

import { askOf } from "./ask.js";
import { widget } from "./bridge.js";
import { createExplorer } from "./explorer.js";
import { current } from "./overlay.js";

const KEYS = (
  "scene image method target layer opacity view sign clip smooth palette across scale live offered categories max_bytes k " +
  "busy progress status error heard"
).split(" ");

export default widget(KEYS, [], createExplorer, (state) => askOf(state, () => current(state)));
