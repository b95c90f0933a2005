// Which maps stand in the comparison grid, and in how many columns. Pure.

/** @typedef {import("./scene.js").Scene} Scene */
/** `layer` is there in a cell that was pinned; other cells follow the layer slider.
 * @typedef {{image: number, method: string, target: string, label: string, title: string, layer?: string}} Cell
 */

/**
 * The cells of the grid: methods for one class, classes for one method, both, or methods for each picture.
 * @param {Scene} scene
 * @param {{image: number, method: string, target: string}} now
 * @param {"methods" | "classes" | "both" | "images" | "pinned"} across
 * @param {(method: string) => string} title
 * @param {Cell[]} [pins]
 * @returns {Cell[][]} rows
 */
export function cells(scene, now, across, title, pins = []) {
  if (across === "pinned") return [pins];
  if (across === "images") return scene.images.map((picture, image) => rowOf(picture, image, now.target, title));
  const picture = scene.images[now.image];
  if (!picture) return [];
  const methods = across === "classes" ? [now.method] : picture.results.map(({ method }) => method);
  const targets = across === "methods" ? picture.targets.filter(({ key }) => key === now.target) : picture.targets;
  const cell = (/** @type {string} */ method, /** @type {import("./scene.js").Target} */ target) => ({
    image: now.image,
    method,
    target: target.key,
    label: target.label,
    title: title(method),
  });
  if (across === "classes") return [targets.flatMap((target) => methods.map((method) => cell(method, target)))];
  return targets.map((target) => methods.map((method) => cell(method, target)));
}

/**
 * One picture under all its methods: for the class that is looked at, or for its own first one.
 * @param {import("./scene.js").Picture} picture
 * @param {number} image
 * @param {string} wish
 * @param {(method: string) => string} title
 * @returns {Cell[]}
 */
function rowOf(picture, image, wish, title) {
  return picture.results.flatMap(({ method, targets }) => {
    const target = picture.targets.find(({ key }) => key === wish && targets[key]) ?? picture.targets.find(({ key }) => targets[key]);
    return target ? [{ image, method, target: target.key, label: target.label, title: title(method) }] : [];
  });
}

/**
 * Columns that fit: as many as there are cells in a row, each at least `least` wide.
 * @param {number} width
 * @param {number} count cells in a row
 * @param {number} [least]
 */
export function columnsThatFit(width, count, least = 150) {
  return Math.max(1, Math.min(count, Math.floor(width / least) || 1));
}
