import assert from "node:assert/strict";
import { test } from "node:test";

import { attach, cut, fromBase64, half, unpack } from "../src/decode.js";

test("half reads every kind of 16-bit number", () => {
  assert.equal(half(0x0000), 0);
  assert.ok(Object.is(half(0x8000), -0));
  assert.equal(half(0x3c00), 1);
  assert.equal(half(0xbc00), -1);
  assert.equal(half(0x3555), 0.333251953125);
  assert.equal(half(0x0001), 2 ** -24);
  assert.equal(half(0x03ff), 1023 * 2 ** -24);
  assert.equal(half(0x7bff), 65504);
  assert.equal(half(0x7c00), Infinity);
  assert.ok(Number.isNaN(half(0x7e00)));
});

test("int8 codes are parts of the peak", () => {
  const data = Uint8Array.of(127, 0, 0x81, 1);
  const values = unpack({ dtype: "int8", shape: [2, 2], peak: 2, data });
  assert.deepEqual([...values], [2, 0, -2, Math.fround(2 / 127)]);
});

test("float16 is read at odd offsets of a larger block, as binary messages bring it", () => {
  const block = Uint8Array.of(9, 0x00, 0x3c, 0x00, 0xb8);
  const values = unpack({ dtype: "float16", shape: [2], peak: 10, data: new DataView(block.buffer, 1, 4) });
  assert.deepEqual([...values], [10, -5]);
});

test("bytes that do not fit the shape are refused", () => {
  assert.throws(() => unpack({ dtype: "int8", shape: [3], peak: 1, data: Uint8Array.of(1) }), /cannot hold 3/);
});

test("blocks find their places in the tree again", () => {
  const blocks = cut(fromBase64("AQID\n"), [1, 2]);
  const tree = attach({ list: [{ data: 1, peak: 7 }], data: 0, other: null, name: "data" }, blocks);
  assert.deepEqual([...tree.list[0].data], [2, 3]);
  assert.deepEqual([...tree.data], [1]);
  assert.equal(tree.list[0].peak, 7);
  assert.equal(tree.other, null);
});
