// What was computed, as the views see it: images, methods, classes, layers and the numbers behind them. Pure.

import { limitOfSorted } from "./colour.js";
import { unpack } from "./decode.js";
import { masses } from "./measure.js";
import { resample } from "./resample.js";

/** @typedef {import("./decode.js").Packed} Packed */

/** A class that was explained. `key` is "504", or "504-968" for a contrast of two classes, which has no probability.
 * A network with one output has none either, but the `output`.
 * @typedef {{key: string, index: number, negative: number, label: string, probability: number | null, output?: number}} Target
 */
/** @typedef {{index: number, label: string, probability: number | null, output?: number}} ClassShare */
/** A layer with extent in space is a "map"; one without is a list of "units".
 * @typedef {{name: string, op: string, shape: number[], kind: "map" | "units"}} Layer
 */
/** The strongest neurons of a layer without extent, and the sums over all of them.
 * @typedef {{indices: number[], labels: string[] | null, values: Packed, size: number, positive: number, negative: number}} Units
 */
/** @typedef {{relevance_in: number, relevance_out: number, bias: number, factor: number | null, residual: number | null}} LedgerLine */
/** Areas by pixel flipping, where they were asked for: between the curves, and over the one that flips the relevant first.
 * @typedef {{abpc: number, aopc: number, patch: number, steps: number}} Faithfulness
 */
/** One class: a piece for each layer, and the ledger by layer name.
 * @typedef {{pieces: (Packed | Units)[], ledger: Record<string, LedgerLine>, faithfulness?: Faithfulness}} Explained
 */
/** @typedef {{method: string, layers: Layer[], targets: Record<string, Explained>}} Result */
/** @typedef {{media: string, data: Uint8Array | DataView}} Photo */
/** @typedef {object} Picture
 * @property {string} name
 * @property {number} width
 * @property {number} height
 * @property {Photo | null} photo
 * @property {ClassShare[]} classes most probable first
 * @property {Packed | null} [probabilities] of all classes; none of one output alone
 * @property {Target[]} targets
 * @property {Result[]} results one per method
 */
/** @typedef {object} Scene
 * @property {number} format
 * @property {string} title
 * @property {string} network
 * @property {Record<string, string>} versions
 * @property {string[]} methods
 * @property {Picture[]} images
 */

/** What is on show: the choices of the model, mended where they name something that is not there.
 * @typedef {object} Choice
 * @property {Picture} picture
 * @property {Result} result
 * @property {Target} target
 * @property {Explained} explained
 * @property {Layer} layer
 * @property {number} depth position of the layer, 0 being the input
 * @property {Packed | Units} piece
 * @property {string | null} wished key of the class that was asked for, where another stands in for it
 */

export const FORMAT = 1;

/**
 * @param {Scene} scene
 * @param {{image?: number, method?: string, target?: string, layer?: string}} wish
 * @returns {Choice | null} null where nothing was computed
 */
export function choose(scene, wish) {
  const picture = scene.images[wish.image ?? 0] ?? scene.images[0];
  const result = picture?.results.find((each) => each.method === wish.method) ?? picture?.results[0];
  if (!picture || !result) return null;
  const target =
    picture.targets.find((each) => each.key === wish.target && result.targets[each.key]) ??
    picture.targets.find((each) => result.targets[each.key]);
  const explained = target && result.targets[target.key];
  if (!target || !explained) return null;
  const depth = Math.max(
    0,
    result.layers.findIndex((each) => each.name === wish.layer),
  );
  const layer = result.layers[depth];
  const piece = explained.pieces[depth];
  const wished = wish.target && wish.target !== target.key ? wish.target : null;
  return layer && piece ? { picture, result, target, explained, layer, depth, piece, wished } : null;
}

/**
 * The class or contrast that a key names, whether it was explained or not; null where it names none.
 * @param {string} key
 * @param {Picture} picture
 * @param {string[]} categories
 * @returns {Target | null}
 */
export function targetOf(key, picture, categories) {
  const known = picture.targets.find((each) => each.key === key);
  const [, first, second] = /^(\d+)(?:-(\d+))?$/.exec(key) ?? [];
  if (known || first === undefined) return known ?? null;
  const name = (/** @type {number} */ index) =>
    categories[index] ?? picture.classes.find((each) => each.index === index)?.label ?? `class ${index}`;
  const index = Number(first);
  if (second !== undefined) {
    const negative = Number(second);
    return { key, index, negative, label: `${name(index)} − ${name(negative)}`, probability: null };
  }
  const probability = (picture.probabilities && numbers(picture.probabilities)[index]) ?? null;
  const output = picture.classes.find((each) => each.index === index)?.output;
  return { key, index, negative: -1, label: name(index), probability, ...(output === undefined ? {} : { output }) };
}

/**
 * The names of the class that was asked for and of the one that is shown in its place; null where it is itself shown.
 * @param {Choice} choice
 * @param {string[]} categories
 */
export function insteadOf({ picture, result, target, wished }, categories) {
  if (wished === null) return null;
  const byOthers = picture.targets.some(({ key }) => key === wished);
  return {
    wished: targetOf(wished, picture, categories)?.label ?? wished,
    method: byOthers ? methodTitle(result.method) : "",
    shown: target.label,
  };
}

/** @param {Packed | Units} piece @returns {piece is Units} */
export function isUnits(piece) {
  return "indices" in piece;
}

/** @type {WeakMap<Packed, Float32Array>} */
const decoded = new WeakMap();

/**
 * The numbers of a packed array, decoded once.
 * @param {Packed} packed
 */
export function numbers(packed) {
  let values = decoded.get(packed);
  if (!values) decoded.set(packed, (values = unpack(packed)));
  return values;
}

/** @type {WeakMap<Packed, Float32Array>} */
const magnitudes = new WeakMap();

/**
 * The absolute values of a packed array, smallest first, sorted once: a percentile costs nothing while dragging.
 * @param {Packed} packed
 */
export function sizes(packed) {
  let sorted = magnitudes.get(packed);
  if (!sorted) magnitudes.set(packed, (sorted = numbers(packed).map(Math.abs).sort()));
  return sorted;
}

/**
 * Where the colour scale of a map ends.
 * @param {Packed} packed
 * @param {number} percentile
 */
export function limitOf(packed, percentile) {
  return limitOfSorted(sizes(packed), percentile);
}

/** @type {WeakMap<Packed | Units, import("./measure.js").Masses>} */
const sums = new WeakMap();

/**
 * Positive and negative relevance of a layer.
 * @param {Packed | Units} piece
 */
export function massesOf(piece) {
  if (isUnits(piece)) return { positive: piece.positive, negative: piece.negative };
  if (piece.whole) return piece.whole;
  let found = sums.get(piece);
  if (!found) sums.set(piece, (found = masses(numbers(piece))));
  return found;
}

/** @type {WeakMap<Packed, {smooth: boolean, width: number, height: number, values: Float32Array}>} */
const enlarged = new WeakMap();

/**
 * A map at the size of the photograph, enlarged once.
 * @param {Packed} packed
 * @param {{width: number, height: number}} size
 * @param {boolean} smooth
 */
export function laidOver(packed, { width, height }, smooth) {
  const kept = enlarged.get(packed);
  if (kept && kept.smooth === smooth && kept.width === width && kept.height === height) return kept.values;
  const [rows = 1, columns = 1] = packed.shape;
  const values = resample(numbers(packed), { width: columns, height: rows }, { width, height }, smooth);
  enlarged.set(packed, { smooth, width, height, values });
  return values;
}

const METHODS = /** @type {Record<string, string>} */ ({
  rlrp: "R-LRP",
  "lrp-0": "LRP-0",
  "lrp-epsilon": "LRP-ε",
  "lrp-gamma": "LRP-γ",
  alpha1beta0: "α1β0",
  "epsilon-plus-flat": "ε-plus-flat",
  "gradient-x-input": "Gradient × input",
});

/**
 * A method of the user's own may be called like something that every object has.
 * @param {string} method
 */
export function methodTitle(method) {
  return (Object.hasOwn(METHODS, method) && METHODS[method]) || method;
}

/**
 * A name as it is compared: in any case, with accents as a part of their letters, with one kind of gap between words.
 * @param {string} name
 */
const likened = (name) =>
  name
    .normalize("NFC")
    .toUpperCase() // the capitals of ß are two
    .toLowerCase()
    .replace(/[\s_-]+/g, " ")
    .replaceAll("'", "")
    .trim();

/**
 * The classes that a text can mean: those called so; else those called nearly so; else the one of that number; else those
 * whose name holds it.
 * @param {ClassShare[]} shares
 * @param {string} text
 * @returns {ClassShare[]}
 */
export function classesCalled(shares, text) {
  const wanted = text.trim();
  const key = likened(wanted);
  if (!wanted) return [];
  const ways = /** @type {((share: ClassShare) => boolean)[]} */ ([
    ({ label }) => label === wanted,
    ({ label }) => likened(label) === key,
    ({ index }) => String(index) === wanted,
    ({ index, label }) => `${likened(label)} (${index})` === key,
    ({ label }) => key !== "" && likened(label).includes(key),
  ]);
  return ways.map((way) => shares.filter(way)).find((found) => found.length) ?? [];
}

/** @type {WeakMap<Packed, {categories: string[], shares: ClassShare[]}>} */
const ranked = new WeakMap();

/**
 * All classes with their probabilities, ranked once: most probable first; without the names of all, those that the scene lists.
 * @param {Picture} picture
 * @param {string[]} categories
 * @returns {ClassShare[]}
 */
export function classShares(picture, categories) {
  if (!picture.probabilities || !categories.length) return picture.classes;
  const known = ranked.get(picture.probabilities);
  if (known?.categories === categories) return known.shares;
  const shares = Array.from(numbers(picture.probabilities), (probability, index) => ({
    index,
    label: categories[index] ?? `class ${index}`,
    probability,
  })).sort((a, b) => b.probability - a.probability || a.index - b.index);
  ranked.set(picture.probabilities, { categories, shares });
  return shares;
}
