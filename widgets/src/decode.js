// From bytes to numbers: the other side of rlrp_nb/widgets/buffers.py. Pure; the page and the widgets decode alike.

/**
 * A packed array: `value = code / top * peak`, top being 127 for int8 and 1 for float16. One that was made coarser says
 * what is said of the `whole`.
 * @typedef {{positive: number, negative: number, sparseness: number}} Figures
 * @typedef {{dtype: "int8" | "float16", shape: number[], peak: number, data: DataView | Uint8Array, whole?: Figures}} Packed
 */

/**
 * The number that 16 bits stand for (IEEE 754 binary16).
 * @param {number} bits
 */
export function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1024 + fraction) * 2 ** (exponent - 25);
}

/** What all 65,536 patterns stand for: looking one up is many times faster than working it out. @type {Float32Array | null} */
let halves = null;

/**
 * @param {Packed} packed
 * @returns {Float32Array}
 */
export function unpack(packed) {
  const { dtype, shape, peak, data } = packed;
  const size = shape.reduce((product, extent) => product * extent, 1);
  const width = dtype === "int8" ? 1 : 2;
  if (data.byteLength !== size * width) {
    throw new RangeError(`${data.byteLength} bytes cannot hold ${size} numbers of ${dtype}`);
  }
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const values = new Float32Array(size);
  if (dtype === "int8") {
    for (let i = 0; i < size; i++) values[i] = (view.getInt8(i) / 127) * peak;
  } else {
    halves ??= Float32Array.from({ length: 65536 }, (_, bits) => half(bits));
    for (let i = 0; i < size; i++) values[i] = (halves[view.getUint16(2 * i, true)] ?? 0) * peak;
  }
  return values;
}

/**
 * @param {string} text base64, with or without line breaks
 * @returns {Uint8Array}
 */
export function fromBase64(text) {
  const binary = atob(text.trim());
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

/**
 * Cut one block of bytes into the pieces it was joined from.
 * @param {Uint8Array} bytes
 * @param {number[]} lengths
 */
export function cut(bytes, lengths) {
  let start = 0;
  return lengths.map((length) => bytes.subarray(start, (start += length)));
}

/**
 * Put byte blocks back where the tree names them by position.
 * @param {any} tree
 * @param {Uint8Array[]} blocks
 * @returns {any}
 */
export function attach(tree, blocks) {
  if (Array.isArray(tree)) return tree.map((branch) => attach(branch, blocks));
  if (tree === null || typeof tree !== "object") return tree;
  return Object.fromEntries(
    Object.entries(tree).map(([key, branch]) =>
      key === "data" && typeof branch === "number" ? [key, blocks[branch]] : [key, attach(branch, blocks)],
    ),
  );
}
