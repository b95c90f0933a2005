// Numbers and names in words. Pure.

const SUPERSCRIPT = "⁰¹²³⁴⁵⁶⁷⁸⁹";
export const MINUS = "−";
const OUTPUT_DIGITS = 6;
const NO_BREAK = "\u00a0";

/**
 * A number with three significant digits, a true minus sign, and a power of ten where it is shorter.
 * @param {number | null} value null where it is undefined
 * @param {{digits?: number, plus?: boolean}} [options] `plus`: write the sign of positive numbers too
 */
export function number(value, { digits = 3, plus = false } = {}) {
  if (value === null) return "–";
  const sign = value < 0 ? MINUS : plus && value > 0 ? "+" : "";
  const size = Math.abs(value);
  if (size === 0) return "0";
  if (size === Infinity) return `${sign}∞`;
  const [mantissa = "", power = "0"] = size.toExponential(digits - 1).split("e");
  const exponent = Number(power);
  if (exponent >= -3 && exponent < Math.max(5, digits)) return sign + Number(size.toPrecision(digits)).toString();
  return `${sign}${mantissa}${NO_BREAK}×${NO_BREAK}10${raised(exponent)}`;
}

/** @param {number} exponent */
function raised(exponent) {
  const digits = [...String(Math.abs(exponent))].map((digit) => SUPERSCRIPT[Number(digit)]).join("");
  return (exponent < 0 ? "⁻" : "") + digits;
}

/**
 * A share as a percentage, which rounding makes neither none nor all: 94 %, 3.1 %, 0.02 %, < 0.01 %, 99.6 %, > 99.9 %.
 * @param {number} share
 */
export function percent(share) {
  const size = Math.abs(share);
  const hundred = size * 100;
  const sign = share < 0 ? MINUS : "";
  if (hundred === 0) return `0${NO_BREAK}%`;
  if (hundred < 0.01) return `${share < 0 ? ">" : "<"}${NO_BREAK}${sign}0.01${NO_BREAK}%`;
  if (size > 0.999 && size < 1) return `${share < 0 ? "<" : ">"}${NO_BREAK}${sign}99.9${NO_BREAK}%`;
  const digits = hundred < 0.1 ? 2 : hundred < 10 || (hundred >= 99.5 && size < 1) ? 1 : 0;
  return `${sign}${hundred.toFixed(digits)}${NO_BREAK}%`;
}

/**
 * How much a network says for a class: its probability or, where it has one output alone, that output; null of neither.
 * @param {{probability: number | null, output?: number}} said
 */
export function saying({ probability, output }) {
  if (probability !== null) return percent(probability);
  return output === undefined ? null : number(output, { digits: OUTPUT_DIGITS }); // which may be a year or a price
}

/**
 * Extents of a layer, channels first: 256 × 14 × 14.
 * @param {number[]} shape
 */
export function extents(shape) {
  return shape.join(" × ");
}

const AGAINST = ` ${MINUS} `;
/** Letters that run from right to left, and signs that turn what follows them. */
const TURNS = /[\u0590-\u08ff\u200f\u202a-\u202e\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u;

/**
 * The names in a label, two where it is of a contrast, without the signs that would end their isolation from what stands
 * around them: those that isolate themselves, and the ends of paragraphs.
 * @param {string} label
 */
export function names(label) {
  return label.split(AGAINST).map((name) => name.replace(/[\u2066-\u2069]/g, "").replace(/[\n\r\x1c-\x1e\x85\u2029]/g, " "));
}

/**
 * Parts with what stands between the names of a contrast between them.
 * @template T
 * @param {T[]} parts
 * @returns {(T | string)[]}
 */
export function opposed(parts) {
  return parts.flatMap((part, i) => (i ? [AGAINST, part] : [part]));
}

/**
 * A label within a sentence where no element can stand, as in an attribute: rlrp_nb/plots/caption.py does the same.
 * @param {string} label
 */
export function isolated(label) {
  return opposed(names(label).map((name) => (TURNS.test(name) ? `\u2068${name}\u2069` : name))).join("");
}

/**
 * A word that may stand in a file name.
 * @param {string} text
 */
export function slug(text) {
  return (
    text
      .normalize("NFKD")
      .replace(/[^\w.-]+/g, "-")
      .replace(/^[-.]+|[-.]+$/g, "")
      .toLowerCase() || "relevance"
  );
}
