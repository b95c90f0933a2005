// The comparison grid: the same picture under several methods or classes; zoom, pan and cursor move together.

import { button, choice, choiceOf } from "./controls.js";
import { h, named, watch } from "./dom.js";
import { MINUS, isolated, number, percent } from "./format.js";
import { cells, columnsThatFit } from "./layout.js";
import { positiveShare, sparseness } from "./measure.js";
import { current, schemeOf } from "./overlay.js";
import { develop } from "./photo.js";
import { choose, isUnits, laidOver, limitOf, massesOf, methodTitle, numbers, sizes } from "./scene.js";
import { createStage } from "./stage.js";

/** @typedef {import("./dom.js").Model} Model */
/** @typedef {{name: string, cell: import("./layout.js").Cell, stage: ReturnType<typeof createStage>, figure: HTMLElement, value: HTMLElement, notes: HTMLElement}} Entry */

/**
 * @param {Model} model
 * @param {Model} local
 * @param {import("./ask.js").Ask} ask
 * @returns {import("./dom.js").View}
 */
export function createGrid(model, local, ask) {
  const across = choice(model, {
    label: "Compare",
    options: () => [
      { value: "methods", text: "Methods" },
      { value: "classes", text: "Classes" },
      { value: "both", text: "Both" },
      ...(model.get("scene").images.length > 1 ? [{ value: "images", text: "Pictures" }] : []),
      ...((model.get("pins") ?? []).length ? [{ value: "pinned", text: "Pinned" }] : []),
    ],
    value: () => model.get("across"),
    pick: (value) => model.set("across", value),
    keys: ["across", "pins", "scene"],
  });
  const scale = choiceOf(model, "scale", "Colour scale", { own: "Each its own", shared: "Shared" });
  const add = button("Add all methods", () => ask.methods(missing()), { label: "Explain this class by all other methods" });
  const measure = button("Measure faithfulness", () => ask.faithfulness(unmeasured()));
  measure.title =
    "Flips patches of the picture in the order of each map, most relevant first and least relevant first, and follows the " +
    "probability: the area between the two curves (ABPC) is larger for a map that is more faithful.";
  const board = h("div", { class: "rl-board" });
  const spoken = h("p", { class: "rl-hidden", role: "status" });
  const el = h(
    "section",
    { class: "rl-panel rl-grid", "aria-label": "Comparison" },
    h("div", { class: "rl-grid-head" }, across.el, scale.el, add, measure),
    board,
    spoken,
  );
  /** @type {Entry[]} */
  let entries = [];
  /** The map that has the focus, whose values are said. @type {Entry | null} */
  let reader = null;
  let inRow = 1;
  /** Known from the observer: asking the board while it is being filled would lay it out in between. */
  let room = 0;
  const observer = new ResizeObserver(() => {
    room = board.clientWidth;
    fit();
  });
  observer.observe(board);

  function fit() {
    board.style.setProperty("--columns", String(columnsThatFit(room, inRow)));
  }

  /** Cells that were there stay as they are, with what they have drawn. */
  function build() {
    const now = current(model);
    const scene = model.get("scene");
    const image = scene.images.indexOf(now?.picture);
    const rows = now
      ? cells(scene, { image, method: now.result.method, target: now.target.key }, model.get("across"), methodTitle, model.get("pins"))
      : [];
    inRow = Math.max(1, ...rows.map((row) => row.length));
    const held = new Map(entries.map((entry) => [entry.name, entry]));
    entries = rows.flat().map((cell) => {
      const name = JSON.stringify([model.get("across"), cell]);
      const known = held.get(name);
      held.delete(name);
      return known ?? createEntry(name, cell);
    });
    for (const { stage, figure } of held.values()) {
      stage.destroy();
      figure.remove();
    }
    entries.forEach(({ figure }, i) => {
      const there = board.children[i] ?? null;
      if (there !== figure) board.insertBefore(figure, there);
    });
    fit();
    void draw();
  }

  /** @param {string} name @param {import("./layout.js").Cell} cell @returns {Entry} */
  function createEntry(name, cell) {
    const stage = createStage({
      onCursor: (pixel, viewport) => {
        local.set("cursor", pixel);
        if (viewport) local.set("viewport", viewport);
      },
      onViewport: (viewport) => local.set("viewport", viewport),
    });
    const byMethod = model.get("across") !== "classes";
    const value = h("span", { class: "rl-cell-value" });
    const notes = h("p", { class: "rl-cell-notes" });
    const figure = h(
      "figure",
      { class: "rl-cell" },
      h(
        "figcaption",
        {},
        h(
          "button",
          {
            type: "button",
            class: "rl-cell-title",
            title: "Show this map large",
            onclick: () => {
              model.set("image", cell.image);
              model.set("method", cell.method);
              model.set("target", cell.target);
              if (cell.layer !== undefined) model.set("layer", cell.layer);
            },
          },
          named(byMethod ? cell.title : cell.label),
        ),
        value,
        ["both", "images", "pinned"].includes(model.get("across"))
          ? h("span", { class: "rl-cell-class" }, named(cell.label), ...(cell.layer ? [" · ", named(cell.layer)] : []))
          : null,
      ),
      stage.el,
      notes,
    );
    const entry = { name, cell, stage, figure, value, notes };
    stage.el.addEventListener("focus", () => read(entry));
    stage.el.addEventListener("blur", () => read(null));
    return entry;
  }

  /** Of the values under the cursor, which all maps share, one is said: that of the map with the focus. @param {Entry | null} entry */
  function read(entry) {
    reader = entry;
    local.set("reader", entry?.name ?? "");
    look();
  }

  /** Methods that the kernel offers and that were not asked about what is looked at. @returns {string[]} */
  function missing() {
    const target = current(model)?.target.key ?? "";
    return (model.get("offered") ?? []).filter((/** @type {string} */ method) => !ask.computed(method, target));
  }

  /** Cells that show relevance of one class at the input, and no figure for it yet. */
  function unmeasured() {
    return entries.filter((entry) => {
      const piece = pieceOf(entry);
      return piece && piece.depth === 0 && piece.picture.photo && piece.target.negative < 0 && !piece.explained.faithfulness;
    }).map(({ cell }) => cell);
  }

  /** The piece that a cell shows, or null where it was not computed or has no extent. @param {Entry} entry */
  function pieceOf({ cell }) {
    const wish = { layer: current(model)?.layer.name, ...cell };
    const found = choose(model.get("scene"), wish);
    // Of a method that was asked for other layers, another one is found: it is not what stands beside it.
    const meant = found?.target.key === cell.target && found.result.method === cell.method && found.layer.name === wish.layer;
    return found && meant && !isUnits(found.piece) ? { ...found, packed: found.piece } : null;
  }

  async function draw() {
    const scheme = schemeOf(model, local);
    const pieces = entries.map(pieceOf);
    const limits = pieces.map((piece) => (piece ? limitOf(piece.packed, model.get("clip")) : 0));
    const largest = Math.max(0, ...limits);
    const now = current(model);
    const drawn = entries;
    const plates = await Promise.all(
      pieces.map((piece) => {
        const photo = (piece?.picture ?? now?.picture)?.photo;
        return photo ? develop(photo) : null;
      }),
    );
    if (drawn !== entries) return;
    entries.forEach(({ cell, stage, figure, notes }, i) => {
      const piece = pieces[i];
      const chosen = cell.method === now?.result.method && cell.target === now?.target.key;
      figure.classList.toggle("rl-here", chosen);
      stage.el.classList.toggle("rl-missing", !piece);
      stage.el.setAttribute("aria-label", nameOf(cell));
      const picture = piece?.picture ?? now?.picture;
      if (!picture) return;
      stage.draw({
        width: picture.width,
        height: picture.height,
        plates: plates[i] ?? null,
        values: piece ? laidOver(piece.packed, picture, model.get("smooth")) : null,
        limit: model.get("scale") === "shared" ? largest : (limits[i] ?? 0),
        ...scheme,
        sign: model.get("sign"),
        mode: model.get("view") === "beside" ? "even" : model.get("view"),
        opacity: model.get("view") === "beside" ? 1 : model.get("opacity"),
      });
      notes.textContent = piece ? figures(piece.packed, piece.depth === 0 ? piece.explained.faithfulness : undefined) : "No map at this layer.";
    });
    add.hidden = !ask.live || !missing().length || !["methods", "both"].includes(model.get("across"));
    measure.hidden = !ask.live || !unmeasured().length;
    look();
  }

  function look() {
    const pixel = local.get("cursor");
    spoken.textContent = "";
    entries.forEach((entry) => {
      entry.stage.look(local.get("viewport"), pixel);
      const piece = pixel && pieceOf(entry);
      if (!piece) {
        entry.value.textContent = "";
        return;
      }
      const [rows = 1, columns = 1] = piece.packed.shape;
      const x = Math.floor(((pixel.x + 0.5) * columns) / piece.picture.width);
      const y = Math.floor(((pixel.y + 0.5) * rows) / piece.picture.height);
      entry.value.textContent = number(numbers(piece.packed)[y * columns + x] ?? 0, { plus: true });
      if (entry === reader) spoken.textContent = `${nameOf(entry.cell)}: x ${pixel.x}, y ${pixel.y}, ${entry.value.textContent}`;
    });
  }

  const stops = [
    watch(model, ["scene", "image", "across", "pins"], build),
    watch(model, ["method", "target"], () => {
      const here = current(model);
      const listed = entries.some(({ cell }) => cell.method === here?.result.method && cell.target === here?.target.key);
      if (["both", "pinned"].includes(model.get("across")) && listed) void draw();
      else build();
    }),
    watch(model, ["layer", "opacity", "view", "sign", "clip", "smooth", "scale", "palette", "measured"], () => void draw()),
    watch(local, ["theme"], () => void draw()),
    watch(local, ["cursor", "viewport"], look),
  ];
  return {
    el,
    destroy() {
      for (const stop of stops) stop();
      for (const { stage } of entries) stage.destroy();
      observer.disconnect();
      across.destroy();
      scale.destroy();
    },
  };
}

/** @param {import("./layout.js").Cell} cell */
function nameOf({ title, label }) {
  return `${isolated(title)}, ${isolated(label)}`;
}

/**
 * The row of figures under a map.
 * @param {import("./scene.js").Packed} packed
 * @param {import("./scene.js").Faithfulness} [faithful]
 */
function figures(packed, faithful) {
  const parts = [
    `${percent(positiveShare(massesOf(packed)))} positive`,
    `sparseness ${number(sparsenessOf(packed), { digits: 2 })}`,
    ...(faithful ? [`faithfulness ${faithful.abpc.toFixed(3).replace("-", MINUS)} ABPC`] : []),
  ];
  return parts.join(" · ");
}

/** @type {WeakMap<import("./scene.js").Packed, number>} */
const sparse = new WeakMap();

/** @param {import("./scene.js").Packed} packed */
function sparsenessOf(packed) {
  if (packed.whole) return packed.whole.sparseness;
  let value = sparse.get(packed);
  if (value === undefined) sparse.set(packed, (value = sparseness(sizes(packed))));
  return value;
}
