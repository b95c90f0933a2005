// Photographs: from bytes to something a canvas can draw, in colour and in grey.

import { grey } from "./colour.js";

/** @typedef {{colour: HTMLCanvasElement, grey: HTMLCanvasElement}} Plates */

/** @type {WeakMap<import("./scene.js").Photo, Promise<Plates>>} */
const plates = new WeakMap();

/**
 * @param {import("./scene.js").Photo} photo
 * @returns {Promise<Plates>}
 */
export function develop(photo) {
  let pending = plates.get(photo);
  if (!pending) plates.set(photo, (pending = decode(photo)));
  return pending;
}

/** @param {import("./scene.js").Photo} photo */
async function decode({ media, data }) {
  const bytes = /** @type {Uint8Array<ArrayBuffer>} */ (new Uint8Array(data.buffer, data.byteOffset, data.byteLength));
  const bitmap = await createImageBitmap(new Blob([bytes], { type: media }));
  const colour = canvasOf(bitmap.width, bitmap.height);
  const pen = context(colour);
  pen.drawImage(bitmap, 0, 0);
  bitmap.close();
  const pixels = pen.getImageData(0, 0, colour.width, colour.height);
  const plain = canvasOf(colour.width, colour.height);
  context(plain).putImageData(new ImageData(grey(pixels.data), colour.width, colour.height), 0, 0);
  return { colour, grey: plain };
}

/** @param {number} width @param {number} height */
export function canvasOf(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/** @param {HTMLCanvasElement} canvas */
export function context(canvas) {
  const pen = canvas.getContext("2d");
  if (!pen) throw new Error("This browser offers no 2D canvas.");
  return pen;
}
