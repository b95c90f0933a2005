import assert from "node:assert/strict";
import { test } from "node:test";

import { extents, isolated, names, number, percent, saying, slug } from "../src/format.js";
import { masses, positiveShare, sparseness } from "../src/measure.js";
import { resample } from "../src/resample.js";

test("a name within an attribute keeps its direction to itself, and others stay as they are", () => {
  assert.equal(isolated("tabby − tiger cat"), "tabby − tiger cat");
  assert.equal(isolated("\u202eabc − plain"), "\u2068\u202eabc\u2069 − plain");
  assert.equal(isolated("قطة − כלב"), "\u2068قطة\u2069 − \u2068כלב\u2069");
  assert.equal(isolated("\u2069\u202eabc\u2029d\u2067"), "\u2068\u202eabc d\u2069");
  assert.deepEqual(names("a\u2069b − c\nd"), ["ab", "c d"]);
});

test("of one output there is a value, of several classes a share, and of a contrast neither", () => {
  assert.equal(saying({ probability: 0.94 }), percent(0.94));
  assert.equal(saying({ probability: null, output: -2 }), "−2");
  assert.equal(saying({ probability: null, output: 1987.4 }), "1987.4");
  assert.equal(saying({ probability: null, output: 123456.4 }), "123456");
  assert.equal(saying({ probability: null, output: 1234567 }), "1.23457\u00a0×\u00a010⁶");
  assert.equal(saying({ probability: null, output: Math.fround(0.1) }), "0.1");
  assert.equal(saying({ probability: null }), null);
});

test("numbers have three digits, a true minus and a power of ten only where it is shorter", () => {
  assert.equal(number(0), "0");
  assert.equal(number(-0), "0");
  assert.equal(number(1.23456), "1.23");
  assert.equal(number(-0.012345), "−0.0123");
  assert.equal(number(0.5, { plus: true }), "+0.5");
  assert.equal(number(1234.5), "1230");
  assert.equal(number(-1.234e-7), "−1.23\u00a0×\u00a010⁻⁷");
  assert.equal(number(9.9999e12, { plus: true }), "+1.00\u00a0×\u00a010¹³");
  assert.equal(number(-Infinity), "−∞");
  assert.equal(number(null), "–");
});

test("percentages keep small shares apart from none", () => {
  assert.equal(percent(0.944), "94\u00a0%");
  assert.equal(percent(1), "100\u00a0%");
  assert.equal(percent(0.031), "3.1\u00a0%");
  assert.equal(percent(-0.00034), "−0.03\u00a0%");
  assert.equal(percent(1e-9), "<\u00a00.01\u00a0%");
  assert.equal(percent(0), "0\u00a0%");
});

test("a percentage never claims certainty by rounding; the pictures drawn in Python say the same", () => {
  assert.equal(percent(0.9949), "99\u00a0%");
  assert.equal(percent(0.9963), "99.6\u00a0%");
  assert.equal(percent(0.999), "99.9\u00a0%");
  for (const share of [0.9991, 0.99951, 0.9998, 1 - Number.EPSILON]) assert.equal(percent(share), ">\u00a099.9\u00a0%");
  assert.equal(percent(1), "100\u00a0%");
  assert.equal(percent(-1), "−100\u00a0%");
});

test("what a negative percentage is said to be beyond is so", () => {
  assert.equal(percent(-0.9963), "−99.6\u00a0%");
  assert.equal(percent(-0.9998), "<\u00a0−99.9\u00a0%");
  assert.equal(percent(-1e-9), ">\u00a0−0.01\u00a0%");
});

test("extents and file names", () => {
  assert.equal(extents([256, 14, 14]), "256 × 14 × 14");
  assert.equal(slug("Egyptian cat − cup/../x"), "egyptian-cat-cup-..-x");
  assert.equal(slug("///"), "relevance");
});

test("masses, share and sparseness", () => {
  assert.deepEqual(masses([3, -1, 0]), { positive: 3, negative: 1 });
  assert.equal(positiveShare({ positive: 3, negative: 1 }), 0.75);
  assert.equal(positiveShare({ positive: 0, negative: 0 }), 0);
  assert.equal(sparseness(Float32Array.of(0, 0)), 0);
  assert.ok(Math.abs(sparseness(Float32Array.of(2, 2, 2, 2))) < 1e-12);
  assert.ok(Math.abs(sparseness(Float32Array.of(0, 0, 0, 5)) - 0.75) < 1e-12);
});

test("a map of the right size is not touched", () => {
  const values = Float32Array.of(1, 2);
  assert.equal(resample(values, { width: 2, height: 1 }, { width: 2, height: 1 }, true), values);
});

test("cells keep their values and their places", () => {
  const out = resample(Float32Array.of(1, 2, 3, 4), { width: 2, height: 2 }, { width: 4, height: 4 }, false);
  assert.deepEqual([...out], [1, 1, 2, 2, 1, 1, 2, 2, 3, 3, 4, 4, 3, 3, 4, 4]);
});

test("smooth values lie between the cells, and the sum is kept where the factor is whole", () => {
  const out = resample(Float32Array.of(0, 4), { width: 2, height: 1 }, { width: 4, height: 1 }, true);
  assert.deepEqual([...out], [0, 1, 3, 4]);
});
