// Values to colours. The formulas are those of rlrp_nb/plots/colormap.py, to the last bit; a test compares them.

import { TABLES as DIGITS } from "./table.js";

/** @typedef {"light" | "dark"} Theme */
/** @typedef {"blue-orange" | "purple-green"} Palette */
/** What a colour table is chosen by.
 * @typedef {{theme: Theme, palette: Palette}} Scheme
 */
/** @typedef {"both" | "positive" | "negative"} Sign */
/** How strongly a pixel covers the photograph: all alike, or the more the larger its value.
 * @typedef {"even" | "strength"} Cover
 */

export const ZERO = 128;
const STEPS = 127;

/** @param {string} hex */
function parse(hex) {
  return Uint8Array.from({ length: hex.length / 2 }, (_, i) => parseInt(hex.slice(2 * i, 2 * i + 2), 16));
}

/** @param {Record<Palette, string>} digits */
function parseAll(digits) {
  return { "blue-orange": parse(digits["blue-orange"]), "purple-green": parse(digits["purple-green"]) };
}

const TABLES = { light: parseAll(DIGITS.light), dark: parseAll(DIGITS.dark) };

/**
 * The 256 colours of a theme and palette, three bytes each.
 * @param {Scheme} scheme
 */
export function table({ theme, palette }) {
  return TABLES[theme][palette];
}

/**
 * The entry of the table that a value takes; 128 is zero.
 * @param {number} value
 * @param {number} limit value at the end of the scale; 0 gives the middle everywhere
 */
export function level(value, limit) {
  if (limit === 0 || value === 0) return ZERO;
  const steps = Math.floor((Math.min(Math.abs(value), limit) / limit) * STEPS + 0.5);
  return value < 0 ? ZERO - steps : ZERO + steps;
}

/**
 * CSS colour of a value.
 * @param {number} value
 * @param {number} limit
 * @param {Scheme} scheme
 */
export function css(value, limit, scheme) {
  const entry = 3 * level(value, limit);
  const colours = table(scheme);
  return `rgb(${colours[entry]}, ${colours[entry + 1]}, ${colours[entry + 2]})`;
}

/**
 * Where the colour scale ends: a percentile of the absolute values, interpolated as NumPy does it; the largest of them
 * where that is 0.
 * @param {Float32Array} sorted absolute values, smallest first
 * @param {number} percentile above 0, at most 100
 */
export function limitOfSorted(sorted, percentile) {
  const last = sorted.length - 1;
  if (last < 0) return 0;
  const position = last * (percentile / 100);
  const below = Math.floor(position);
  const low = sorted[below] ?? 0;
  const high = sorted[Math.min(below + 1, last)] ?? 0;
  const part = position - below;
  const gap = high - low;
  // Measured from the nearer neighbour, so that the result never leaves the interval.
  const limit = part >= 0.5 ? high - gap * (1 - part) : low + gap * part;
  return limit || (sorted[last] ?? 0);
}

/**
 * Colour values into RGBA bytes.
 * @param {ArrayLike<number>} values
 * @param {number} limit
 * @param {Scheme & {sign: Sign, cover: Cover}} look
 * @param {Uint8ClampedArray} [rgba] where to write; a new array without it
 */
export function paint(values, limit, look, rgba = new Uint8ClampedArray(4 * values.length)) {
  const colours = table(look);
  const low = look.sign === "positive" ? ZERO : 0;
  const high = look.sign === "negative" ? ZERO : 255;
  const even = look.cover === "even";
  for (let i = 0; i < values.length; i++) {
    const entry = Math.max(low, Math.min(high, level(values[i] ?? 0, limit)));
    rgba[4 * i] = colours[3 * entry] ?? 0;
    rgba[4 * i + 1] = colours[3 * entry + 1] ?? 0;
    rgba[4 * i + 2] = colours[3 * entry + 2] ?? 0;
    rgba[4 * i + 3] = even ? 255 : (COVERAGES[Math.abs(entry - ZERO)] ?? 255);
  }
  return rgba;
}

/**
 * Alpha of a pixel whose value is this part of the limit: nothing at zero, nearly all from a third on.
 * @param {number} strength from 0 to 1
 */
export function coverage(strength) {
  return Math.round(255 * Math.min(1, strength) ** 0.6);
}

/** The alpha of each step of the colour table, counted from zero. */
const COVERAGES = Uint8Array.from({ length: ZERO + 1 }, (_, steps) => coverage(steps / STEPS));

/**
 * A grey copy of RGBA bytes, so that the only colour left in the picture is the relevance.
 * @param {Uint8ClampedArray} rgba
 */
export function grey(rgba) {
  const out = new Uint8ClampedArray(rgba.length);
  for (let i = 0; i < rgba.length; i += 4) {
    const light = 0.2126 * (rgba[i] ?? 0) + 0.7152 * (rgba[i + 1] ?? 0) + 0.0722 * (rgba[i + 2] ?? 0);
    out[i] = out[i + 1] = out[i + 2] = light;
    out[i + 3] = rgba[i + 3] ?? 255;
  }
  return out;
}
