// One picture with its relevance: canvases, zoom, pan and the pixel cursor. Knows nothing of models or methods.

import { css, paint } from "./colour.js";
import { h, onFrame } from "./dom.js";
import { WHOLE, inside, middleOf, pan, pixelAt, reveal, step, toFrame, toPicture, transform, zoomAt } from "./geometry.js";
import { canvasOf, context } from "./photo.js";

/** @typedef {import("./geometry.js").Viewport} Viewport */
/** @typedef {import("./geometry.js").Point} Point */
/** @typedef {import("./ask.js").Box} Box */

/** Everything a picture shows. `mode`: relevance over the photograph by strength, evenly, or beside it.
 * @typedef {object} Frame
 * @property {number} width
 * @property {number} height
 * @property {import("./photo.js").Plates | null} plates
 * @property {Float32Array | null} values
 * @property {number} limit
 * @property {import("./colour.js").Theme} theme
 * @property {import("./colour.js").Palette} palette
 * @property {import("./colour.js").Sign} sign
 * @property {"strength" | "even" | "beside"} mode
 * @property {number} opacity
 */

/** @typedef {object} Listeners
 * @property {(pixel: Point | null, viewport: Viewport | null) => void} onCursor
 * @property {(viewport: Viewport) => void} onViewport
 * @property {(box: Box | null, done: boolean) => void} [onBox] while a rectangle is drawn, when it is, and when it is given up
 */

const KEY_ZOOM = 1.5;
const WASH = { light: 0.6, dark: 0.5 };

/**
 * @param {Listeners} listeners
 */
export function createStage({ onCursor, onViewport, onBox }) {
  /** @type {Frame | null} */
  let frame = null;
  let viewport = WHOLE;
  let looked = WHOLE;
  /** @type {Point | null} */
  let cursor = null;
  let drawing = false;
  /** @type {Box | null} */
  let box = null;
  /** @type {Point | null} the pixel where a rectangle begins */
  let corner = null;
  /** @type {{values: Float32Array, key: string} | null} */
  let painted = null;
  const heat = canvasOf(1, 1);

  const panes = [createPane(), createPane()];
  const [front, back] = /** @type {[ReturnType<typeof createPane>, ReturnType<typeof createPane>]} */ (panes);
  const el = h(
    "div",
    {
      class: "rl-stage",
      tabindex: 0,
      role: "application",
      "aria-roledescription": "relevance map",
      onkeydown: onKey,
      onblur: () => onCursor(null, null),
    },
    front.el,
    back.el,
  );
  const composing = onFrame(compose);
  const observer = new ResizeObserver(place);
  observer.observe(el);

  function compose() {
    if (!frame) return;
    const { width, height, plates, values, mode, opacity } = frame;
    const beside = mode === "beside";
    back.el.hidden = !beside;
    el.style.setProperty("--aspect", String(width / height));
    el.classList.toggle("rl-beside", beside);
    colour();
    for (const { canvas } of panes) {
      if (canvas.width !== width || canvas.height !== height) {
        canvas.width = width;
        canvas.height = height;
      }
    }
    const pen = context(front.canvas);
    pen.globalAlpha = 1;
    pen.clearRect(0, 0, width, height);
    if (plates) drawPhoto(pen, plates, frame);
    if (values && !beside) {
      pen.globalAlpha = opacity;
      pen.drawImage(heat, 0, 0);
    }
    if (beside) {
      const other = context(back.canvas);
      other.clearRect(0, 0, width, height);
      if (values) other.drawImage(heat, 0, 0);
    }
    place();
  }

  /** Colour the values again, but only if something that shows has changed. */
  function colour() {
    if (!frame?.values) return;
    const { values, width, height, limit, theme, palette, sign, mode } = frame;
    const key = [limit, theme, palette, sign, mode === "strength"].join();
    if (painted?.values === values && painted.key === key) return;
    heat.width = width;
    heat.height = height;
    const image = new ImageData(width, height);
    paint(values, limit, { theme, palette, sign, cover: mode === "strength" ? "strength" : "even" }, image.data);
    context(heat).putImageData(image, 0, 0);
    painted = { values, key };
  }

  function place() {
    if (!frame) return;
    const width = front.el.clientWidth;
    const sharp = (width * viewport.zoom) / frame.width >= 6;
    for (const pane of panes) {
      pane.canvas.style.transform = transform(viewport);
      pane.canvas.classList.toggle("rl-sharp", sharp);
      pane.el.style.touchAction = viewport.zoom > 1 || drawing ? "none" : "pan-x pan-y";
      pane.el.classList.toggle("rl-zoomed", viewport.zoom > 1);
      pane.outline.hidden = !box;
      if (box) {
        const from = toFrame(viewport, { x: box.left / frame.width, y: box.top / frame.height });
        const to = toFrame(viewport, { x: box.right / frame.width, y: box.bottom / frame.height });
        Object.assign(pane.outline.style, {
          left: `${from.x * 100}%`,
          top: `${from.y * 100}%`,
          width: `${(to.x - from.x) * 100}%`,
          height: `${(to.y - from.y) * 100}%`,
        });
      }
      pane.marker.hidden = !cursor;
      if (!cursor) continue;
      const at = toFrame(viewport, middleOf(cursor, frame));
      const side = Math.max(11, (width * viewport.zoom) / frame.width + 3);
      pane.marker.style.left = `${at.x * 100}%`;
      pane.marker.style.top = `${at.y * 100}%`;
      pane.marker.style.width = pane.marker.style.height = `${side}px`;
    }
  }

  /** @param {KeyboardEvent} event */
  function onKey(event) {
    if (!frame || event.ctrlKey || event.metaKey || event.altKey) return;
    const start = cursor ?? { x: frame.width >> 1, y: frame.height >> 1 };
    const next = step(start, event.key, event.shiftKey ? 10 : 1, frame);
    if (next) {
      const to = cursor ? next : start;
      onCursor(to, reveal(viewport, middleOf(to, frame)));
      if (corner) onBox?.(boxOf(corner, to), false);
    } else if (drawing && cursor && (event.key === " " || event.key === "Enter")) {
      const done = corner !== null;
      onBox?.(boxOf(corner ?? cursor, cursor), done);
      corner = done ? null : cursor;
    } else if (event.key === "+" || event.key === "=") onViewport(zoomAt(viewport, KEY_ZOOM, focus()));
    else if (event.key === "-") onViewport(zoomAt(viewport, 1 / KEY_ZOOM, focus()));
    else if (event.key === "0") onViewport(WHOLE);
    else if (event.key === "Escape" && (cursor || corner)) {
      if (corner) onBox?.(null, false);
      corner = null;
      onCursor(null, null);
    }
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  /** Where keyboard zoom aims: at the cursor if there is one. */
  function focus() {
    return cursor && frame ? toFrame(viewport, middleOf(cursor, frame)) : { x: 0.5, y: 0.5 };
  }

  /** One pane's canvas, cursor mark and pointer handling. */
  function createPane() {
    const canvas = h("canvas", { class: "rl-canvas", "aria-hidden": "true" });
    const marker = h("div", { class: "rl-marker", "aria-hidden": "true", hidden: true });
    const outline = h("div", { class: "rl-outline", "aria-hidden": "true", hidden: true });
    /** @type {Map<number, Point>} */
    const pointers = new Map();
    const pane = h(
      "div",
      {
        class: "rl-pane",
        onpointerdown: (/** @type {PointerEvent} */ event) => {
          pointers.set(event.pointerId, at(event));
          if (drawing && frame) corner = pixelAt(toPicture(viewport, at(event)), frame);
          if (viewport.zoom > 1 || drawing) pane.setPointerCapture(event.pointerId);
        },
        onpointermove: (/** @type {PointerEvent} */ event) => move(event),
        onpointerup: (/** @type {PointerEvent} */ event) => {
          pointers.delete(event.pointerId);
          if (drawing && corner && frame) {
            onBox?.(boxOf(corner, pixelAt(toPicture(viewport, at(event)), frame)), true);
            corner = null;
          }
        },
        onpointercancel: (/** @type {PointerEvent} */ event) => pointers.delete(event.pointerId),
        onpointerleave: (/** @type {PointerEvent} */ event) => {
          pointers.delete(event.pointerId);
          // A map that has the focus keeps its cursor, so that the read-out can be looked at.
          if (!el.contains(document.activeElement)) onCursor(null, null);
        },
        // a tap moves no pointer, and takes the cursor away before the map has the focus
        onclick: (/** @type {MouseEvent} */ event) => {
          if (frame && !drawing) onCursor(pixelAt(toPicture(viewport, at(event)), frame), null);
        },
        ondblclick: (/** @type {MouseEvent} */ event) => onViewport(zoomAt(viewport, 2, at(event))),
      },
      canvas,
      outline,
      marker,
    );
    // A plain wheel scrolls the page; with Ctrl (which is also what a pinch on a touchpad sends) it zooms.
    pane.addEventListener(
      "wheel",
      (event) => {
        if (!event.ctrlKey && !event.metaKey) return;
        event.preventDefault();
        onViewport(zoomAt(viewport, Math.exp(-event.deltaY / 200), at(event)));
      },
      { passive: false },
    );

    /** @param {MouseEvent} event @returns {Point} */
    function at(event) {
      const box = pane.getBoundingClientRect();
      return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
    }

    /** @param {PointerEvent} event */
    function move(event) {
      if (!frame) return;
      const before = pointers.get(event.pointerId);
      const now = at(event);
      if (before) {
        const [other] = [...pointers].filter(([id]) => id !== event.pointerId).map(([, point]) => point);
        pointers.set(event.pointerId, now);
        if (drawing && corner) {
          onBox?.(boxOf(corner, pixelAt(toPicture(viewport, now), frame)), false);
          return;
        }
        if (other) {
          const factor = distance(now, other) / Math.max(distance(before, other), 1e-3);
          onViewport(zoomAt(viewport, factor, { x: (now.x + other.x) / 2, y: (now.y + other.y) / 2 }));
          return;
        }
        if (viewport.zoom > 1) onViewport(pan(viewport, { x: now.x - before.x, y: now.y - before.y }));
      }
      onCursor(pixelAt(toPicture(viewport, now), frame), null);
    }

    return { el: pane, canvas, marker, outline };
  }

  return {
    el,
    /** @param {Frame} next */
    draw(next) {
      const keys = /** @type {(keyof Frame)[]} */ (Object.keys(next));
      if (frame && keys.every((key) => frame?.[key] === next[key])) return;
      frame = next;
      composing.ask();
    },
    /** @param {Viewport} next @param {Point | null} mark */
    look(next, mark) {
      if (next === looked && mark === cursor) return;
      looked = next;
      viewport = inside(next);
      cursor = mark;
      place();
    },
    /** Whether rectangles are drawn instead of dragging the picture, and the one that stands. @param {boolean} on @param {Box | null} standing */
    frame(on, standing) {
      drawing = on;
      box = standing;
      if (!on) corner = null;
      place();
    },
    destroy() {
      composing.cancel();
      observer.disconnect();
    },
  };
}

/**
 * The photograph as it stands behind relevance: without colour, and under "strength" washed towards the colour of zero,
 * so that strong values stand out from it at both ends of the scale.
 * @param {CanvasRenderingContext2D} pen
 * @param {import("./photo.js").Plates} plates
 * @param {Pick<Frame, "width" | "height" | "theme" | "palette" | "mode" | "opacity">} frame
 */
export function drawPhoto(pen, plates, { width, height, theme, palette, mode, opacity }) {
  pen.globalAlpha = 1;
  pen.drawImage(plates.colour, 0, 0, width, height);
  if (mode === "beside") return;
  // Colour leaves within the first tenth of the slider, the wash follows with it.
  pen.globalAlpha = Math.min(1, opacity * 10);
  pen.drawImage(plates.grey, 0, 0, width, height);
  if (mode === "strength") {
    pen.globalAlpha = WASH[theme] * opacity;
    pen.fillStyle = css(0, 1, { theme, palette });
    pen.fillRect(0, 0, width, height);
  }
  pen.globalAlpha = 1;
}

/**
 * The rectangle that holds two pixels and all between them.
 * @param {Point} a
 * @param {Point} b
 * @returns {Box}
 */
function boxOf(a, b) {
  return {
    left: Math.min(a.x, b.x),
    top: Math.min(a.y, b.y),
    right: Math.max(a.x, b.x) + 1,
    bottom: Math.max(a.y, b.y) + 1,
  };
}

/** @param {Point} a @param {Point} b */
function distance(a, b) {
  return Math.hypot(a.x - b.x, a.y - b.y);
}
