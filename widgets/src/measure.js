// The figures under a map. Pure.

/** @typedef {{positive: number, negative: number}} Masses both at least 0 */

/**
 * @param {ArrayLike<number>} values
 * @returns {Masses}
 */
export function masses(values) {
  let positive = 0;
  let negative = 0;
  for (let i = 0; i < values.length; i++) {
    const value = values[i] ?? 0;
    if (value > 0) positive += value;
    else negative -= value;
  }
  return { positive, negative };
}

/**
 * Positive part of all relevance, from 0 to 1; 0 where there is none.
 * @param {Masses} of
 */
export function positiveShare({ positive, negative }) {
  const total = positive + negative;
  return total > 0 ? positive / total : 0;
}

/**
 * Gini index of the absolute values: 0 when all pixels weigh the same, towards 1 when few carry everything.
 * @param {Float32Array} sorted absolute values, smallest first
 */
export function sparseness(sorted) {
  let sum = 0;
  let weighted = 0;
  for (let i = 0; i < sorted.length; i++) {
    const value = sorted[i] ?? 0;
    sum += value;
    weighted += (i + 1) * value;
  }
  if (sum === 0) return 0;
  return (2 * weighted) / (sorted.length * sum) - (sorted.length + 1) / sorted.length;
}
