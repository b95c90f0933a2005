// Zoom, pan and the pixel cursor. Pure: fractions of the picture in, fractions out.

/** Part of the picture on show: `zoom` times enlarged about (x, y), both fractions of the picture.
 * @typedef {{zoom: number, x: number, y: number}} Viewport
 */
/** @typedef {{x: number, y: number}} Point */
/** @typedef {{width: number, height: number}} Size */

/** @type {Viewport} */
export const WHOLE = Object.freeze({ zoom: 1, x: 0.5, y: 0.5 });
export const MAX_ZOOM = 32;

/** @param {number} value @param {number} low @param {number} high */
export function clamp(value, low, high) {
  return Math.min(high, Math.max(low, value));
}

/**
 * The nearest viewport that shows nothing outside the picture.
 * @param {Viewport} viewport
 * @returns {Viewport}
 */
export function inside({ zoom, x, y }) {
  const bounded = clamp(zoom, 1, MAX_ZOOM);
  const half = 0.5 / bounded;
  return { zoom: bounded, x: clamp(x, half, 1 - half), y: clamp(y, half, 1 - half) };
}

/**
 * From a place in the frame to a place in the picture.
 * @param {Viewport} viewport
 * @param {Point} frame
 * @returns {Point}
 */
export function toPicture(viewport, frame) {
  return {
    x: viewport.x + (frame.x - 0.5) / viewport.zoom,
    y: viewport.y + (frame.y - 0.5) / viewport.zoom,
  };
}

/**
 * From a place in the picture to a place in the frame.
 * @param {Viewport} viewport
 * @param {Point} picture
 * @returns {Point}
 */
export function toFrame(viewport, picture) {
  return {
    x: (picture.x - viewport.x) * viewport.zoom + 0.5,
    y: (picture.y - viewport.y) * viewport.zoom + 0.5,
  };
}

/**
 * Zoom by a factor; what lies under `frame` stays there.
 * @param {Viewport} viewport
 * @param {number} factor
 * @param {Point} [frame]
 */
export function zoomAt(viewport, factor, frame = { x: 0.5, y: 0.5 }) {
  const fixed = toPicture(viewport, frame);
  const zoom = clamp(viewport.zoom * factor, 1, MAX_ZOOM);
  return inside({ zoom, x: fixed.x - (frame.x - 0.5) / zoom, y: fixed.y - (frame.y - 0.5) / zoom });
}

/**
 * Drag the picture by fractions of the frame.
 * @param {Viewport} viewport
 * @param {Point} by
 */
export function pan(viewport, by) {
  return inside({ ...viewport, x: viewport.x - by.x / viewport.zoom, y: viewport.y - by.y / viewport.zoom });
}

/**
 * The pixel at a place of the picture, or the nearest one.
 * @param {Point} picture
 * @param {Size} size
 * @returns {Point}
 */
export function pixelAt(picture, size) {
  return {
    x: clamp(Math.floor(picture.x * size.width), 0, size.width - 1),
    y: clamp(Math.floor(picture.y * size.height), 0, size.height - 1),
  };
}

/**
 * The middle of a pixel, as a place in the picture.
 * @param {Point} pixel
 * @param {Size} size
 * @returns {Point}
 */
export function middleOf(pixel, size) {
  return { x: (pixel.x + 0.5) / size.width, y: (pixel.y + 0.5) / size.height };
}

/**
 * Move the viewport no further than needed for a place of the picture to be on show.
 * @param {Viewport} viewport
 * @param {Point} picture
 */
export function reveal(viewport, picture) {
  const half = 0.5 / viewport.zoom;
  return inside({
    zoom: viewport.zoom,
    x: clamp(viewport.x, picture.x - half, picture.x + half),
    y: clamp(viewport.y, picture.y - half, picture.y + half),
  });
}

/**
 * The CSS transform that shows a viewport, for an element as large as the frame, origin at its corner.
 * @param {Viewport} viewport
 */
export function transform({ zoom, x, y }) {
  return `translate(${(0.5 - x * zoom) * 100}%, ${(0.5 - y * zoom) * 100}%) scale(${zoom})`;
}

/**
 * The pixel an arrow key leads to, or null for any other key.
 * @param {Point} pixel
 * @param {string} key
 * @param {number} stride
 * @param {Size} size
 * @returns {Point | null}
 */
export function step(pixel, key, stride, size) {
  const moves = /** @type {Record<string, [number, number]>} */ ({
    ArrowLeft: [-1, 0],
    ArrowRight: [1, 0],
    ArrowUp: [0, -1],
    ArrowDown: [0, 1],
  });
  const move = moves[key];
  if (!move) return null;
  return {
    x: clamp(pixel.x + stride * move[0], 0, size.width - 1),
    y: clamp(pixel.y + stride * move[1], 0, size.height - 1),
  };
}
