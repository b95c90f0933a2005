// What a view wants to see: shown at once where it is there, asked of the kernel where it is not and there is one.

import { attach } from "./decode.js";
import { isolated, names } from "./format.js";
import { merge } from "./merge.js";
import { methodTitle } from "./scene.js";

/** @typedef {import("./standin.js").StandIn} StandIn */
/** @typedef {{index: number, negative: number, label: string}} Wanted */
/** @typedef {{left: number, top: number, right: number, bottom: number}} Box */
/** @typedef {{box: Box, image: number, label: string, before: number[], after: number[], likeliest: {label: string, probability: number | null, output?: number}[]}} Covered */
/** @typedef {{image: number, method: string, target: string, layer: string, count: number, channels: {index: number, sum: number, map: import("./scene.js").Packed}[]}} Channels */

/** @param {{index: number, negative: number}} of */
export function keyOf({ index, negative }) {
  return negative < 0 ? String(index) : `${index}-${negative}`;
}

/** What a widget says that nobody answers: in a page or a notebook that was stored, or since the kernel was restarted. */
const SILENCE = "No kernel answers. Run this cell again, unless a cell is still running.";
/** Milliseconds until then; a kernel that is at work may hear of a request only afterwards. */
const PATIENCE = { idle: 5_000, busy: 60_000 };

/** Answers reach all pages that show a widget, so that requests are named after their page. */
const page = crypto.getRandomValues(new Uint32Array(2)).join("-");
let count = 0;

/** @type {WeakMap<StandIn, Ask>} */
const asks = new WeakMap();

/**
 * What asks for all views of a widget: an answer is added once, and only the newest request of any of them moves them.
 * @param {StandIn} state
 * @param {() => import("./scene.js").Choice | null} now
 * @returns {Ask}
 */
export function askOf(state, now) {
  const known = asks.get(state) ?? createAsk(state, now);
  asks.set(state, known);
  return known;
}

/**
 * @param {StandIn} state
 * @param {() => import("./scene.js").Choice | null} now
 */
function createAsk(state, now) {
  /** @type {Record<string, any>} */
  let asked = {};
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let patience;
  // Asked each time: a widget hears of its kernel's model only after it was made.
  const live = () => Boolean(state.get("live"));

  /** @param {Record<string, any>} message @param {ArrayBuffer[]} [buffers] */
  function send(message, buffers) {
    // As where a seed of the user's own was explained: it has no number by which to ask.
    if ((message.index ?? message.classes?.[0] ?? 0) < 0) {
      state.set("refused", "This asks by class, but what is on show is a seed of your own, which only Python can explain. Choose a class.");
      return;
    }
    asked = { ...message, ask: `${page}-${++count}` };
    clearTimeout(patience);
    patience = setTimeout(miss, state.get("busy") ? PATIENCE.busy : PATIENCE.idle);
    state.set("error", "");
    state.set("refused", "");
    try {
      state.send(asked, undefined, buffers);
    } catch {
      // As ipywidgets does where it knows that the kernel is gone.
      clearTimeout(patience);
      miss();
    }
  }

  function miss() {
    state.set("busy", false);
    state.set("error", SILENCE);
  }

  function hear() {
    clearTimeout(patience);
    if (state.get("error") === SILENCE) state.set("error", "");
  }

  state.on("change:heard", hear);
  // A kernel that is gone will not say that it is done.
  state.on("change:connection", () => {
    if (state.get("busy")) miss();
  });

  /** @param {string} method @param {string} key */
  function computed(method, key) {
    const scene = /** @type {import("./scene.js").Scene} */ (state.get("scene"));
    return scene.images[state.get("image")]?.results.some((each) => each.method === method && each.targets[key]) ?? false;
  }

  /** @param {string} method @param {Wanted} target */
  function want(method, target) {
    const key = keyOf(target);
    if (computed(method, key)) {
      state.set("refused", "");
      state.set("method", method);
      state.set("target", key);
    } else if (live()) {
      const { index, negative, label } = target;
      const status = `Explaining ${isolated(label)} by ${isolated(methodTitle(method))}`;
      send({ kind: "explain", image: state.get("image"), method, index, negative, status });
    }
  }

  state.onMessage((message, buffers) => {
    hear();
    const tree = attach(
      message.tree,
      buffers.map((view) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength)),
    );
    // Everybody learns what was computed. What is shown is moved by the newest request of this page alone: there may be
    // other pages, and an answer to an older one can still be on its way.
    const own = message.ask === asked.ask;
    if (own && message.kind === "cover") state.set("covered", { ...tree, ...asked.about });
    if (own && message.kind === "channels") state.set("channels", { ...tree, ...asked.about });
    if (message.kind === "faithfulness") {
      // Changed in place: a new scene would build every picture anew.
      const { image, method, target } = tree.cell;
      const scene = /** @type {import("./scene.js").Scene} */ (state.get("scene"));
      const explained = scene.images[image]?.results.find((each) => each.method === method)?.targets[target];
      if (explained) explained.faithfulness = tree.faithfulness;
      state.set("measured", (state.get("measured") ?? 0) + 1);
    }
    if (tree.picture) state.set("scene", merge(state.get("scene"), tree.image, tree.picture));
    if (own && tree.picture && message.kind !== "methods") {
      const [target] = tree.picture.targets;
      state.set("image", tree.image);
      state.set("method", tree.picture.results[0].method);
      state.set("target", target.key);
    }
  });

  return {
    get live() {
      return live();
    },
    computed,
    want,
    /** @param {string} method */
    method(method) {
      const target = now()?.target;
      if (target) want(method, target);
    },
    /** Explain what is looked at by several methods. @param {string[]} methods */
    methods(methods) {
      const target = now()?.target;
      if (!target || !methods.length) return;
      const { index, negative, label } = target;
      const status = `Explaining ${isolated(label)} by ${methods.length} more ${methods.length === 1 ? "method" : "methods"}`;
      send({ kind: "methods", image: state.get("image"), methods, index, negative, status });
    },
    /** @param {{image: number, method: string, target: string}[]} cells */
    faithfulness(cells) {
      if (!cells.length) return;
      const status = `Measuring how faithful ${cells.length === 1 ? "one map is" : `${cells.length} maps are`}`;
      send({ kind: "faithfulness", cells: cells.map(({ image, method, target }) => ({ image, method, target })), status });
    },
    /** All pictures of several files; the last one is shown when it is explained. @param {File[]} files */
    async images(files) {
      const method = now()?.result.method ?? "rlrp";
      /** @type {string[]} */
      const refusals = [];
      for (const file of files) {
        const bytes = refusal(file, state.get("max_bytes")) ?? (await file.arrayBuffer().catch(() => null));
        if (bytes instanceof ArrayBuffer) {
          send({ kind: "image", name: file.name, method, status: `Explaining ${isolated(file.name)}` }, [bytes]);
        } else refusals.push(bytes ?? `“${isolated(file.name)}” cannot be read; accepted is a picture, not a folder.`);
      }
      // After the last is sent, which lets go of what was said before.
      state.set("refused", refusals.join(" "));
    },
    /** @param {Box} box */
    cover(box) {
      const choice = now();
      if (!choice) return;
      const { target } = choice;
      const image = state.get("image");
      const classes = target.negative < 0 ? [target.index] : [target.index, target.negative];
      // The class's own name: one may hold the sign that stands between two.
      const [first = ""] = target.negative < 0 ? [target.label] : names(target.label);
      const about = { box, image, label: state.get("categories")?.[target.index] ?? first };
      send({ kind: "cover", image, box: [box.left, box.top, box.right, box.bottom], classes, about, status: "Covering the region" });
    },
    channels() {
      const choice = now();
      if (!choice) return;
      const { target, layer, result } = choice;
      const about = { image: state.get("image"), method: result.method, target: target.key, layer: layer.name };
      const { index, negative } = target;
      send({ kind: "channels", ...about, index, negative, about, status: `Ranking the channels of ${isolated(layer.name)}` });
    },
  };
}

/**
 * Why a file is not sent, in words.
 * @param {File} file
 * @param {number} limit bytes
 */
function refusal({ name, size, type }, limit) {
  if (size > limit) {
    const [has, most] = [size, limit].map((bytes) => Math.round(bytes / 1e6));
    return `“${isolated(name)}” has ${has} MB; pictures up to ${most} MB are accepted. Make it smaller.`;
  }
  // What is of no known type may be a picture: the kernel looks into it.
  if (!type || type.startsWith("image/")) return null;
  return `“${isolated(name)}” is no picture, but ${isolated(type)}; accepted are pictures such as PNG and JPEG.`;
}

/** @typedef {ReturnType<typeof createAsk>} Ask */
