import assert from "node:assert/strict";
import { test } from "node:test";

import { ZERO, coverage, css, grey, level, limitOfSorted, paint, table } from "../src/colour.js";

const LOOK = /** @type {const} */ ({ theme: "light", palette: "blue-orange", sign: "both", cover: "even" });

test("zero takes the middle, the ends take the ends, and nothing lies beyond them", () => {
  assert.equal(level(0, 1), ZERO);
  assert.equal(level(-0, 1), ZERO);
  assert.equal(level(1, 1), 255);
  assert.equal(level(-1, 1), 1);
  assert.equal(level(1e300, 1), 255);
  assert.equal(level(-1e300, 1e-300), 1);
  assert.equal(level(5, 0), ZERO);
});

test("levels are mirrored about zero", () => {
  for (let value = 0; value <= 1.2; value += 0.003) assert.equal(level(value, 1) - ZERO, ZERO - level(-value, 1));
});

test("the limit is the interpolated percentile", () => {
  const sorted = Float32Array.of(0, 1, 2, 3, 4);
  assert.equal(limitOfSorted(sorted, 100), 4);
  assert.equal(limitOfSorted(sorted, 50), 2);
  assert.equal(limitOfSorted(sorted, 90), 3.6);
  assert.equal(limitOfSorted(Float32Array.of(), 90), 0);
});

test("where the percentile is zero the largest value is the limit", () => {
  const sorted = new Float32Array(1000);
  sorted[999] = 3;
  assert.equal(limitOfSorted(sorted, 90), 3);
});

test("paint writes the colours of the table", () => {
  const rgba = paint([-1, 0, 1], 1, LOOK);
  const colours = table(LOOK);
  assert.deepEqual([...rgba.slice(0, 3)], [...colours.slice(3, 6)]);
  assert.deepEqual([...rgba.slice(4, 7)], [...colours.slice(3 * 128, 3 * 128 + 3)]);
  assert.deepEqual([...rgba.slice(8, 11)], [...colours.slice(3 * 255)]);
  assert.deepEqual([rgba[3], rgba[7], rgba[11]], [255, 255, 255]);
});

test("a sign that is hidden takes the colour of zero", () => {
  const zero = [...paint([0], 1, LOOK)];
  assert.deepEqual([...paint([-1, 1], 1, { ...LOOK, sign: "positive" })].slice(0, 4), zero);
  assert.deepEqual([...paint([-1, 1], 1, { ...LOOK, sign: "negative" })].slice(4), zero);
});

test("by strength, zero leaves the photograph as it is and the ends cover it", () => {
  const rgba = paint([0, 1, -2], 1, { ...LOOK, cover: "strength" });
  assert.deepEqual([rgba[3], rgba[7], rgba[11]], [0, 255, 255]);
  assert.ok(coverage(0.2) > 0 && coverage(0.2) < coverage(0.3));
});

test("all tables have 256 colours and share the middle of their theme; css names one of them", () => {
  for (const theme of /** @type {const} */ (["light", "dark"])) {
    const tables = /** @type {const} */ (["blue-orange", "purple-green"]).map((palette) => table({ theme, palette }));
    for (const each of tables) assert.equal(each.length, 768);
    const [middle, other] = tables.map((each) => [...each.slice(3 * ZERO, 3 * ZERO + 3)]);
    assert.deepEqual(middle, other);
  }
  assert.match(css(-1, 1, { theme: "dark", palette: "purple-green" }), /^rgb\(\d+, \d+, \d+\)$/);
});

test("grey has three equal parts and keeps alpha", () => {
  assert.deepEqual([...grey(Uint8ClampedArray.of(255, 255, 255, 7, 100, 0, 0, 255))], [255, 255, 255, 7, 21, 21, 21, 255]);
});
