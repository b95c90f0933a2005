import assert from "node:assert/strict";
import { afterEach, beforeEach, mock, test } from "node:test";

import { askOf, keyOf } from "../src/ask.js";
import { bridge, widget } from "../src/bridge.js";
import { merge } from "../src/merge.js";
import { choose, classShares } from "../src/scene.js";
import { StandIn } from "../src/standin.js";

const packed = () => ({ dtype: "int8", shape: [1], peak: 1, data: Uint8Array.of(127) });
const layers = [{ name: "input", op: "", shape: [1, 1, 1], kind: "map" }];
/** @param {string} method @param {...string} keys @returns {any} */
const picture = (method, ...keys) => ({
  name: "Image 1",
  width: 1,
  height: 1,
  photo: null,
  classes: [],
  targets: keys.map((key) => ({ key, index: Number.parseInt(key), negative: -1, label: key, probability: 0 })),
  results: [{ method, layers, targets: Object.fromEntries(keys.map((key) => [key, { pieces: [packed()], ledger: {} }])) }],
});
/** @returns {any} */
const scene = () => ({ format: 1, title: "", network: "", versions: {}, methods: ["rlrp"], images: [picture("rlrp", "1", "2")] });

/** A model that records what the kernel would be told. */
class Recorder extends StandIn {
  sent = /** @type {any[]} */ ([]);
  saves = 0;
  constructor(/** @type {Record<string, unknown>} */ values) {
    super(values);
    this.send = (message) => this.sent.push(message);
  }
  save_changes() {
    this.saves += 1;
  }
}

const KEYS = ["scene", "image", "method", "target", "layer", "opacity", "live", "busy", "error", "heard", "max_bytes"];
function start(live = true) {
  const model = new Recorder({ scene: scene(), image: 0, method: "rlrp", target: "1", layer: "input", opacity: 1, live, busy: false, error: "", heard: "", max_bytes: 100 });
  const state = bridge(/** @type {any} */ (model), KEYS, []);
  const now = () => choose(state.get("scene"), { method: state.get("method"), target: state.get("target") });
  return { model, state, ask: askOf(state, now) };
}
const wanted = (/** @type {number} */ index, negative = -1) => ({ index, negative, label: String(index) });

beforeEach(() => mock.timers.enable({ apis: ["setTimeout"] }));
afterEach(() => mock.timers.reset());

/** @param {Recorder} model @param {any} message */
const answer = (model, message) => model.listeners.get("msg:custom")?.forEach((hear) => hear(message, []));

test("keys name a class or a contrast", () => {
  assert.equal(keyOf({ index: 5, negative: -1 }), "5");
  assert.equal(keyOf({ index: 5, negative: 0 }), "5-0");
});

test("what is there is shown without a word to the kernel", () => {
  const { model, state, ask } = start();
  ask.want("rlrp", wanted(2));
  state.set("opacity", 0.3);
  state.set("layer", "fc");
  assert.equal(state.get("target"), "2");
  assert.deepEqual(model.sent, []);
  assert.equal(model.saves, 0);
});

test("what is missing is asked for, and shown when it comes", () => {
  const { model, state, ask } = start();
  ask.want("lrp-0", wanted(7));
  assert.equal(state.get("target"), "1");
  assert.deepEqual([model.sent[0].kind, model.sent[0].method, model.sent[0].index], ["explain", "lrp-0", 7]);
  const bare = picture("lrp-0", "7");
  bare.results[0].targets["7"].pieces[0].data = 0;
  const tree = { image: 0, picture: bare };
  model.listeners.get("msg:custom")?.forEach((hear) => hear({ kind: "explain", ask: model.sent[0].ask, tree }, [new DataView(new ArrayBuffer(1))]));
  assert.deepEqual([state.get("method"), state.get("target")], ["lrp-0", "7"]);
  assert.equal(state.get("scene").images[0].results.length, 2);
});

test("an answer to an older request, or to another page, is kept and moves nothing", () => {
  const { model, state, ask } = start();
  ask.want("lrp-0", wanted(7));
  ask.want("lrp-0", wanted(8));
  assert.notEqual(model.sent[0].ask, model.sent[1].ask);
  answer(model, { kind: "explain", ask: model.sent[0].ask, tree: { image: 0, picture: picture("lrp-0", "7") } });
  answer(model, { kind: "explain", ask: "elsewhere-2", tree: { image: 1, picture: picture("rlrp", "3") } });
  answer(model, { kind: "cover", ask: "elsewhere-3", tree: { before: [0.5], after: [0.4], likeliest: [] } });
  const [first, second] = state.get("scene").images;
  assert.deepEqual(Object.keys(first.results[1].targets), ["7"]);
  assert.equal(second.results.length, 1);
  assert.deepEqual([state.get("image"), state.get("method"), state.get("target"), state.get("covered")], [0, "rlrp", "1", undefined]);
});

test("all views of a widget ask by one, and an answer is added once", () => {
  const { model, state, ask } = start();
  assert.equal(askOf(state, () => null), ask);
  let scenes = 0;
  state.on("change:scene", () => (scenes += 1));
  answer(model, { kind: "explain", ask: "elsewhere-1", tree: { image: 0, picture: picture("rlrp", "3") } });
  assert.equal(scenes, 1);
});

test("a request that nobody hears is told, until somebody does", () => {
  const { model, state, ask } = start();
  ask.want("lrp-0", wanted(7));
  mock.timers.tick(4_000);
  assert.equal(state.get("error"), "");
  mock.timers.tick(4_000);
  assert.match(state.get("error"), /No kernel answers.*Run this cell again/);
  ask.want("lrp-0", wanted(8));
  assert.equal(state.get("error"), "");
  mock.timers.tick(8_000);
  assert.match(state.get("error"), /No kernel/);
  model.set("heard", model.sent[1].ask);
  assert.equal(state.get("error"), "");
  mock.timers.tick(80_000);
  assert.equal(state.get("error"), "");
});

test("a kernel that is known to be gone is told at once", () => {
  const { model, state, ask } = start();
  model.send = () => {
    throw new Error("Cannot send");
  };
  ask.want("lrp-0", wanted(7));
  assert.match(state.get("error"), /No kernel/);
});

test("a kernel that is at work is waited for longer, and one that is gone is not", () => {
  const { model, state, ask } = start();
  model.set("busy", true);
  ask.want("lrp-0", wanted(7));
  mock.timers.tick(50_000);
  assert.deepEqual([state.get("busy"), state.get("error")], [true, ""]);
  mock.timers.tick(50_000);
  assert.equal(state.get("busy"), false);
  model.set("busy", false);
  model.set("busy", true);
  model.set("heard", model.sent[0].ask);
  assert.deepEqual([state.get("busy"), state.get("error")], [true, ""]);
  model.listeners.get("comm_live_update")?.forEach((hear) => hear());
  assert.equal(state.get("busy"), false);
  assert.match(state.get("error"), /No kernel/);
});

test("faithfulness is kept beside the map that it is of, and methods are added without a change of what is shown", () => {
  const { model, state, ask } = start();
  ask.faithfulness([]);
  ask.methods([]);
  assert.deepEqual(model.sent, []);
  const cell = { image: 0, method: "rlrp", target: "2" };
  ask.faithfulness([cell]);
  const hear = (/** @type {any} */ tree) =>
    model.listeners.get("msg:custom")?.forEach((each) => each({ kind: model.sent.at(-1).kind, ask: model.sent.at(-1).ask, tree }, []));
  hear({ cell, faithfulness: { abpc: 0.5, aopc: 0.7, patch: 16, steps: 28 } });
  assert.equal(state.get("scene").images[0].results[0].targets["2"].faithfulness.abpc, 0.5);
  assert.equal(state.get("measured"), 1);
  ask.methods(["lrp-0", "lrp-gamma"]);
  assert.deepEqual([model.sent[1].kind, model.sent[1].methods, model.sent[1].index], ["methods", ["lrp-0", "lrp-gamma"], 1]);
  hear({ image: 0, picture: picture("lrp-0", "1") });
  hear({ image: 0, picture: picture("lrp-gamma", "1") });
  assert.equal(state.get("method"), "rlrp");
  assert.equal(state.get("scene").images[0].results.length, 3);
});

test("without a kernel nothing is asked", () => {
  const { model, state, ask } = start(false);
  ask.want("lrp-0", wanted(7));
  assert.deepEqual(model.sent, []);
  assert.equal(state.get("target"), "1");
});

const arrayBuffer = async () => new ArrayBuffer(9);
/** @param {any[]} given @returns {any} */
const files = (...given) => given.map((each) => ({ name: "a.png", size: 9, arrayBuffer, ...each }));

test("a picture that is too large is refused in words, one that is not is sent as bytes", async () => {
  const { model, state, ask } = start();
  await ask.images(files({ size: 101 }));
  assert.match(state.get("refused"), /a\.png.*accepted/);
  assert.deepEqual(model.sent, []);
  await ask.images(files({}));
  assert.equal(model.sent[0].kind, "image");
  assert.equal(state.get("refused"), "");
});

test("a file of another type, or a folder, is refused in words; one of no known type is left to the kernel", async () => {
  const { model, state, ask } = start();
  await ask.images(files({ name: "a.txt", type: "text/plain" }));
  assert.match(state.get("refused"), /a\.txt.*no picture.*text\/plain.*accepted/);
  await ask.images(files({ name: "dir", type: "", arrayBuffer: () => Promise.reject(new Error("no")) }));
  assert.match(state.get("refused"), /dir.*cannot be read.*accepted/);
  assert.deepEqual(model.sent, []);
  await ask.images(files({ name: "a", type: "" }));
  assert.deepEqual([model.sent.length, state.get("refused")], [1, ""]);
});

test("of several files all pictures are sent, each other one is refused by name, and the last that was sent is shown", async () => {
  const { model, state, ask } = start();
  await ask.images(files({ name: "a.png" }, { name: "b.txt", type: "text/plain" }, { name: "c.png" }, { name: "d.png", size: 101 }, { name: "e.png" }));
  assert.deepEqual(model.sent.map(({ name }) => name), ["a.png", "c.png", "e.png"]);
  assert.match(state.get("refused"), /b\.txt.*d\.png/);
  for (const [i, { ask: id }] of model.sent.entries()) {
    answer(model, { kind: "image", ask: id, tree: { image: i + 1, picture: picture("rlrp", "3") } });
    assert.equal(state.get("image"), i === 2 ? 3 : 0);
  }
  assert.equal(state.get("scene").images.length, 4);
});

test("a covered region speaks of the class's own name, also where that holds a minus", () => {
  const { model, state, ask } = start();
  const box = { left: 0, top: 0, right: 1, bottom: 1 };
  const image = state.get("scene").images[0];
  for (const [label, negative, shown] of [["a − b", -1, "a − b"], ["a − b − c", 4, "a"]]) {
    state.set("scene", { ...scene(), images: [{ ...image, targets: [{ ...image.targets[0], label, negative }, image.targets[1]] }] });
    ask.cover(box);
    assert.equal(model.sent.at(-1).about.label, shown);
  }
  state.set("categories", ["z", "a − b"]);
  ask.cover(box);
  assert.deepEqual([model.sent.at(-1).about.label, model.sent.at(-1).classes], ["a − b", [1, 4]]);
});

test("a seed is not asked for by a number that it does not have", () => {
  const { model, state, ask } = start();
  const image = state.get("scene").images[0];
  state.set("scene", { ...scene(), images: [{ ...image, targets: [{ ...image.targets[0], index: -1 }] }] });
  ask.method("lrp-0");
  ask.methods(["lrp-0"]);
  ask.channels();
  ask.cover({ left: 0, top: 0, right: 1, bottom: 1 });
  assert.deepEqual(model.sent, []);
  assert.match(state.get("refused"), /seed.*Choose a class/);
  ask.want("lrp-0", wanted(7));
  assert.deepEqual([model.sent.length, state.get("refused")], [1, ""]);
});

test("all views of a widget share a state, and two widgets share none", () => {
  const seen = /** @type {StandIn[]} */ ([]);
  const el = /** @type {any} */ ({ append: () => {} });
  const make = widget(["layer"], [], (state) => {
    seen.push(state);
    return { el, destroy: () => {} };
  });
  const [one, other] = [make(), make()];
  const models = ["a", "b"].map((layer) => new Recorder({ layer }));
  one.initialize({ model: /** @type {any} */ (models[0]) });
  other.initialize({ model: /** @type {any} */ (models[1]) });
  for (const each of [one, one, other]) each.render({ el });
  assert.equal(seen[0], seen[1]);
  assert.deepEqual(seen.map((state) => state.get("layer")), ["a", "a", "b"]);
});

test("what was computed before the first view is there when it comes", () => {
  const model = new Recorder({ scene: scene(), image: 0, method: "rlrp", target: "1", live: true, busy: false, error: "", heard: "" });
  const now = (/** @type {StandIn} */ state) => choose(state.get("scene"), { method: state.get("method"), target: state.get("target") });
  const shown = /** @type {StandIn[]} */ ([]);
  const el = /** @type {any} */ ({ append: () => {} });
  const keys = ["scene", "image", "method", "target", "live", "busy", "error", "heard"];
  const show = (/** @type {StandIn} */ state) => (shown.push(state), { el, destroy: () => {} });
  const made = widget(keys, [], show, (state) => askOf(state, () => now(state)))();
  made.initialize({ model: /** @type {any} */ (model) });
  const bare = picture("lrp-0", "7");
  bare.results[0].targets["7"].pieces[0].data = 0;
  model.listeners.get("msg:custom")?.forEach((hear) => hear({ kind: "explain", ask: "another page-1", tree: { image: 0, picture: bare } }, [new DataView(new ArrayBuffer(1))]));
  made.render({ el });
  assert.equal(shown[0]?.get("scene").images[0].results.length, 2);
});

test("a bridge follows the kernel, and saves only what it should", () => {
  const model = new Recorder({ layer: "a", opacity: 1 });
  const state = bridge(/** @type {any} */ (model), ["layer", "opacity"], ["layer"]);
  model.set("opacity", 0.5);
  assert.equal(state.get("opacity"), 0.5);
  state.set("opacity", 0.2);
  assert.equal(model.saves, 0);
  state.set("layer", "b");
  assert.deepEqual([model.saves, model.get("layer")], [1, "b"]);
  model.set("layer", "c");
  assert.deepEqual([model.saves, state.get("layer")], [1, "c"]);
});

test("what Python sets moves the browser also where Python has that value already", () => {
  const model = new Recorder({ layer: "a", opacity: 1 });
  const state = bridge(/** @type {any} */ (model), ["layer", "opacity"], []);
  state.set("opacity", 0.2);
  answer(model, { kind: "set", key: "opacity", value: 1 });
  answer(model, { kind: "set", key: "unheard", value: 1 });
  assert.deepEqual([state.get("opacity"), state.get("unheard")], [1, undefined]);
});

test("merging adds classes, methods and pictures, and leaves the old scene as it was", () => {
  const old = scene();
  const { targets, results } = picture("rlrp", "3");
  const told = merge(old, 0, { targets, results });
  assert.deepEqual(told, merge(old, 0, picture("rlrp", "3")));
  assert.equal(told.images[0]?.photo, old.images[0]?.photo);
  const more = merge(merge(merge(old, 0, picture("rlrp", "2", "3")), 0, picture("lrp-0", "1")), 1, picture("rlrp", "9"));
  assert.equal(old.images.length, 1);
  assert.deepEqual(Object.keys(old.images[0].results[0].targets), ["1", "2"]);
  assert.deepEqual(more.images.map(({ targets }) => targets.map(({ key }) => key)), [["1", "2", "3"], ["9"]]);
  assert.deepEqual(more.methods, ["rlrp", "lrp-0"]);
  assert.equal(more.images[0]?.results.length, 2);
});

test("class shares are of all classes where their names are known, most probable first", () => {
  const held = { ...picture("rlrp", "1"), classes: [{ index: 4, label: "four", probability: 1 }] };
  assert.deepEqual(classShares(held, []), held.classes);
  held.probabilities = { dtype: "int8", shape: [3], peak: 127, data: Uint8Array.of(5, 90, 5) };
  assert.deepEqual(classShares(held, ["a", "b", "c"]).map(({ label }) => label), ["b", "a", "c"]);
});
