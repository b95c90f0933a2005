// A scene grows: what a new explanation says about an image is added to what is there. Pure.

/** @typedef {import("./scene.js").Scene} Scene */
/** @typedef {import("./scene.js").Picture} Picture */
/** What is new about a picture that is known. @typedef {Pick<Picture, "targets" | "results">} Addition */

/**
 * A scene with more in it; the given one is left as it is.
 * @param {Scene} scene
 * @param {number} position which image; one beyond the last is a new one, of which all has to be there
 * @param {Addition} addition
 * @returns {Scene}
 */
export function merge(scene, position, addition) {
  const held = scene.images[position];
  const images = [...scene.images];
  images[position] = held ? join(held, addition) : /** @type {Picture} */ (addition);
  const methods = [...new Set([...scene.methods, ...addition.results.map(({ method }) => method)])];
  return { ...scene, images, methods };
}

/**
 * @param {Picture} held
 * @param {Addition} addition
 * @returns {Picture}
 */
function join(held, addition) {
  const known = new Set(held.targets.map(({ key }) => key));
  const results = [...held.results];
  for (const result of addition.results) {
    const at = results.findIndex(({ method }) => method === result.method);
    const same = results[at];
    if (same) results[at] = { ...same, targets: { ...same.targets, ...result.targets } };
    else results.push(result);
  }
  return { ...held, results, targets: [...held.targets, ...addition.targets.filter(({ key }) => !known.has(key))] };
}
