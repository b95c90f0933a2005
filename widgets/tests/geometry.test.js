import assert from "node:assert/strict";
import { test } from "node:test";

import { MAX_ZOOM, WHOLE, inside, middleOf, pan, pixelAt, reveal, step, toFrame, toPicture, transform, zoomAt } from "../src/geometry.js";

/** @param {number} a @param {number} b */
const near = (a, b) => assert.ok(Math.abs(a - b) < 1e-12, `${a} is not ${b}`);

test("frame and picture are each other's way back", () => {
  const viewport = { zoom: 3, x: 0.4, y: 0.6 };
  const there = toPicture(viewport, { x: 0.1, y: 0.9 });
  const back = toFrame(viewport, there);
  near(back.x, 0.1);
  near(back.y, 0.9);
});

test("what lies under the pointer stays there while zooming", () => {
  const pointer = { x: 0.3, y: 0.55 };
  const before = toPicture(WHOLE, pointer);
  const after = toPicture(zoomAt(WHOLE, 2.5, pointer), pointer);
  near(after.x, before.x);
  near(after.y, before.y);
});

test("zooming and panning never show what is outside the picture", () => {
  let viewport = zoomAt(WHOLE, 4, { x: 0, y: 1 });
  viewport = pan(viewport, { x: 5, y: -5 });
  near(toPicture(viewport, { x: 0, y: 0 }).x, 0);
  near(toPicture(viewport, { x: 1, y: 1 }).y, 1);
  assert.deepEqual(zoomAt(viewport, 1e-9), WHOLE);
  assert.equal(zoomAt(viewport, 1e9).zoom, MAX_ZOOM);
  assert.deepEqual(inside({ zoom: 0.2, x: 9, y: -9 }), WHOLE);
});

test("every place of the picture belongs to a pixel, its edges too", () => {
  const size = { width: 4, height: 3 };
  assert.deepEqual(pixelAt({ x: 0, y: 0 }, size), { x: 0, y: 0 });
  assert.deepEqual(pixelAt({ x: 1, y: 1 }, size), { x: 3, y: 2 });
  assert.deepEqual(pixelAt({ x: -1, y: 2 }, size), { x: 0, y: 2 });
  for (let x = 0; x < 4; x++) assert.deepEqual(pixelAt(middleOf({ x, y: 1 }, size), size), { x, y: 1 });
});

test("the cursor's pixel is brought into view and no further", () => {
  const viewport = { zoom: 4, x: 0.5, y: 0.5 };
  assert.deepEqual(reveal(viewport, { x: 0.5, y: 0.6 }), viewport);
  near(toFrame(reveal(viewport, { x: 0.8, y: 0.5 }), { x: 0.8, y: 0.5 }).x, 1);
});

test("arrow keys step, and stop at the edge", () => {
  const size = { width: 5, height: 5 };
  assert.deepEqual(step({ x: 2, y: 2 }, "ArrowLeft", 1, size), { x: 1, y: 2 });
  assert.deepEqual(step({ x: 2, y: 2 }, "ArrowDown", 10, size), { x: 2, y: 4 });
  assert.equal(step({ x: 2, y: 2 }, "a", 1, size), null);
});

test("the transform of the whole picture does nothing", () => {
  assert.equal(transform(WHOLE), "translate(0%, 0%) scale(1)");
});
