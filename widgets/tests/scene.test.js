import assert from "node:assert/strict";
import { test } from "node:test";

import { cells, columnsThatFit } from "../src/layout.js";
import { choose, classesCalled, insteadOf, laidOver, limitOf, massesOf, methodTitle, numbers, targetOf } from "../src/scene.js";
import { StandIn } from "../src/standin.js";

/** @param {...number} values @returns {import("../src/scene.js").Packed} */
const packed = (...values) => ({ dtype: "int8", shape: [2, 2], peak: 127, data: new Uint8Array(Int8Array.of(...values).buffer) });

/** @param {number} sign @returns {import("../src/scene.js").Explained} */
const explained = (sign) => ({
  pieces: [
    packed(sign, 2, -3, 4),
    { indices: [3], labels: null, values: { ...packed(1), shape: [1] }, size: 9, positive: 5, negative: 2 },
  ],
  ledger: {},
});
const layers = /** @type {import("../src/scene.js").Layer[]} */ ([
  { name: "input", op: "", shape: [3, 2, 2], kind: "map" },
  { name: "fc", op: "linear", shape: [9], kind: "units" },
]);
const target = (/** @type {string} */ key) => ({ key, index: Number(key), negative: -1, label: `class ${key}`, probability: 0.5 });

/** @type {import("../src/scene.js").Scene} */
const scene = {
  format: 1,
  title: "",
  network: "net",
  versions: {},
  methods: ["rlrp", "lrp-0"],
  images: [
    {
      name: "Image 1",
      width: 4,
      height: 4,
      photo: null,
      classes: [],
      targets: [target("7"), target("8")],
      results: [
        { method: "rlrp", layers, targets: { 7: explained(1), 8: explained(-1) } },
        { method: "lrp-0", layers, targets: { 7: explained(1) } },
      ],
    },
  ],
};

test("a wish that can be met is met", () => {
  const now = choose(scene, { image: 0, method: "rlrp", target: "8", layer: "fc" });
  assert.equal(now?.target.key, "8");
  assert.equal(now?.depth, 1);
});

test("a wish that cannot be met gives the nearest thing that is there", () => {
  const now = choose(scene, { image: 5, method: "lrp-0", target: "8", layer: "gone" });
  assert.deepEqual([now?.picture.name, now?.result.method, now?.target.key, now?.layer.name], ["Image 1", "lrp-0", "7", "input"]);
  assert.equal(choose({ ...scene, images: [] }, {}), null);
});

test("what stands in for a class that was not explained is said by name", () => {
  const about = (/** @type {string} */ method, /** @type {string} */ key, /** @type {string[]} */ categories = []) => {
    const now = choose(scene, { method, target: key });
    return now && insteadOf(now, categories);
  };
  assert.equal(about("rlrp", "8"), null);
  assert.equal(about("rlrp", ""), null);
  assert.deepEqual(about("rlrp", "3", ["a", "b", "c", "d"]), { wished: "d", method: "", shown: "class 7" });
  assert.deepEqual(about("rlrp", "3-0", ["a", "b", "c", "d"]), { wished: "d − a", method: "", shown: "class 7" });
  assert.deepEqual(about("rlrp", "3"), { wished: "class 3", method: "", shown: "class 7" });
  assert.deepEqual(about("lrp-0", "8"), { wished: "class 8", method: "LRP-0", shown: "class 7" });
  assert.deepEqual(about("rlrp", "mug"), { wished: "mug", method: "", shown: "class 7" });
});

test("a key is the class or the contrast that it names, explained or not", () => {
  const [first] = scene.images;
  const picture = { ...(first ?? assert.fail()), probabilities: { ...packed(10, 20, 30, 67), shape: [4] } };
  assert.equal(targetOf("8", picture, []), picture.targets[1]);
  assert.deepEqual(targetOf("3", picture, ["a", "b", "c", "d"]), { key: "3", index: 3, negative: -1, label: "d", probability: 67 });
  assert.deepEqual(targetOf("3-1", picture, ["a", "b", "c", "d"]), { key: "3-1", index: 3, negative: 1, label: "d − b", probability: null });
  assert.deepEqual(targetOf("9", picture, []), { key: "9", index: 9, negative: -1, label: "class 9", probability: null });
  assert.equal(targetOf("mug", picture, []), null);
});

test("numbers are decoded once, and limits and sums come from them", () => {
  const now = choose(scene, {});
  const piece = /** @type {import("../src/scene.js").Packed} */ (now?.piece);
  assert.equal(numbers(piece), numbers(piece));
  assert.deepEqual([...numbers(piece)], [1, 2, -3, 4]);
  assert.equal(limitOf(piece, 100), 4);
  assert.deepEqual(massesOf(piece), { positive: 7, negative: 3 });
  const whole = { positive: 20, negative: 10, sparseness: 0.5 };
  assert.deepEqual(massesOf({ ...packed(1, 2, -3, 4), whole }), whole);
  assert.deepEqual(massesOf(/** @type {any} */ (now?.explained.pieces[1])), { positive: 5, negative: 2 });
  assert.equal(laidOver(piece, { width: 4, height: 4 }, false), laidOver(piece, { width: 4, height: 4 }, false));
  assert.equal(laidOver(piece, { width: 4, height: 4 }, true).length, 16);
});

test("the grid has a cell for each method, each class, or both", () => {
  const now = { image: 0, method: "rlrp", target: "7" };
  const shape = (/** @type {"methods" | "classes" | "both"} */ across) => cells(scene, now, across, methodTitle).map((row) => row.length);
  assert.deepEqual(shape("methods"), [2]);
  assert.deepEqual(shape("classes"), [2]);
  assert.deepEqual(shape("both"), [2, 2]);
  assert.deepEqual(cells(scene, { ...now, image: 3 }, "both", methodTitle), []);
  const twice = { ...scene, images: [...scene.images, ...scene.images] };
  const rows = cells(twice, { ...now, target: "8" }, "images", methodTitle);
  assert.deepEqual(rows.map((row) => row.map((cell) => `${cell.image} ${cell.target}`)), [["0 8", "0 7"], ["1 8", "1 7"]]);
  const pin = { ...now, label: "", title: "", layer: "fc" };
  assert.deepEqual(cells(scene, now, "pinned", methodTitle, [pin]), [[pin]]);
});

test("columns are as many as fit", () => {
  assert.equal(columnsThatFit(328, 5), 2);
  assert.equal(columnsThatFit(1200, 3), 3);
  assert.equal(columnsThatFit(10, 3), 1);
});

test("the stand-in tells its listeners of changes, and of nothing else", () => {
  const model = new StandIn({ layer: "a" });
  /** @type {string[]} */
  const heard = [];
  const hear = () => heard.push(model.get("layer"));
  model.on("change:layer", hear);
  model.set("layer", "a");
  model.set("layer", "b");
  model.set("other", 1);
  model.off("change:layer", hear);
  model.set("layer", "c");
  assert.deepEqual(heard, ["b"]);
});

test("a method is shown by its title, and one of the user's own by its name, whatever that is", () => {
  assert.equal(methodTitle("lrp-epsilon"), "LRP-ε");
  for (const name of ["mine", "__proto__", "constructor", "toString"]) assert.equal(methodTitle(name), name);
});

test("a text means the class that is called so, then one but for capitals, then a number, then a part", () => {
  const shares = ["B", "b", "crane", "Crane", "7", "tiger cat", "crane", "cattle"].map((label, index) => ({ label, index, probability: 0 }));
  const found = (/** @type {string} */ text) => classesCalled(shares, text).map(({ index }) => index);
  assert.deepEqual([found("b"), found("B"), found(" crane "), found("CRANE")], [[1], [0], [2, 6], [2, 3, 6]]);
  assert.deepEqual([found("7"), found("6"), found("cat"), found("x"), found(" ")], [[4], [6], [5, 7], [], []]);
});

test("a class is found however its accents, capitals and gaps are written", () => {
  const names = ["Ma\u0308use", "golden_retriever", "Straße", "potter's wheel", "_"];
  const shares = names.map((label, index) => ({ label, index, probability: 0 }));
  const found = (/** @type {string} */ text) => classesCalled(shares, text).map(({ index }) => index);
  assert.deepEqual([found("M\u00e4use"), found("mäu"), found("Ma\u0308use")], [[0], [0], [0]]);
  assert.deepEqual([found("golden retriever"), found("Golden-Ret"), found("STRASSE")], [[1], [1], [2]]);
  assert.deepEqual([found("Straße (2)"), found("straße (1)")], [[2], []]);
  assert.deepEqual([found("potters"), found("_"), found("-")], [[3], [4], [4]]);
});
