// Which class is shown where another was chosen, in a widget that cannot ask for what is missing.

import { h, named, watch } from "./dom.js";
import { current } from "./overlay.js";
import { insteadOf } from "./scene.js";

/**
 * A line that is empty while the chosen class is the one on show.
 * @param {import("./dom.js").Model} model
 * @param {{keys?: string[], applies?: () => boolean}} [options] where the view names the classes by itself at times
 * @returns {import("./dom.js").View}
 */
export function createInstead(model, { keys = [], applies = () => true } = {}) {
  const el = h("p", { class: "rl-instead", role: "status" });
  const destroy = watch(model, ["scene", "image", "method", "target", "categories", ...keys], () => {
    const now = current(model);
    const instead = now && insteadOf(now, model.get("categories") ?? []);
    el.replaceChildren();
    if (!instead || !applies()) return;
    const { wished, method, shown } = instead;
    el.append(named(wished), " was not explained", ...(method ? [" by ", named(method)] : []), "; shown is ", named(shown), ".");
  });
  return { el, destroy };
}
