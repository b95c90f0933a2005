// A layer's small map, laid over the photograph. Pure.

/**
 * Enlarge a map to the size of the photograph: cells with sharp edges, or bilinear between their middles.
 * @param {Float32Array} values row by row
 * @param {{width: number, height: number}} from
 * @param {{width: number, height: number}} to
 * @param {boolean} smooth
 * @returns {Float32Array}
 */
export function resample(values, from, to, smooth) {
  if (from.width === to.width && from.height === to.height) return values;
  const columns = places(from.width, to.width, smooth);
  const rows = places(from.height, to.height, smooth);
  const out = new Float32Array(to.width * to.height);
  let at = 0;
  for (const row of rows) {
    const top = row.low * from.width;
    const bottom = row.high * from.width;
    for (const column of columns) {
      const upper = mix(values[top + column.low] ?? 0, values[top + column.high] ?? 0, column.part);
      const lower = mix(values[bottom + column.low] ?? 0, values[bottom + column.high] ?? 0, column.part);
      out[at++] = mix(upper, lower, row.part);
    }
  }
  return out;
}

/** @param {number} a @param {number} b @param {number} part */
function mix(a, b, part) {
  return a + (b - a) * part;
}

/**
 * For each new position, the two old ones it lies between and how far along.
 * @param {number} from
 * @param {number} to
 * @param {boolean} smooth
 */
function places(from, to, smooth) {
  return Array.from({ length: to }, (_, i) => {
    const position = ((i + 0.5) * from) / to;
    if (!smooth) return { low: Math.floor(position), high: Math.floor(position), part: 0 };
    const middle = Math.min(Math.max(position - 0.5, 0), from - 1);
    const low = Math.floor(middle);
    return { low, high: Math.min(low + 1, from - 1), part: middle - low };
  });
}
