// A result to take away: a picture with its caption, or the numbers with what they are.

import { css, paint } from "./colour.js";
import { download } from "./dom.js";
import { isolated, number, percent, saying, slug } from "./format.js";
import { positiveShare } from "./measure.js";
import { canvasOf, context, develop } from "./photo.js";
import { drawPhoto } from "./stage.js";
import { isUnits, laidOver, limitOf, massesOf, methodTitle, numbers } from "./scene.js";

/** @typedef {import("./scene.js").Choice} Choice */
/** @typedef {import("./scene.js").Scene} Scene */

/** How the picture looks when it is saved.
 * @typedef {object} Look
 * @property {import("./colour.js").Theme} theme
 * @property {import("./colour.js").Palette} palette
 * @property {import("./colour.js").Sign} sign
 * @property {"strength" | "even" | "beside"} view
 * @property {number} opacity
 * @property {number} clip
 * @property {boolean} smooth
 */

const WIDTH = 1024;
const MARGIN = 40;
const TALLEST = 2048;

/**
 * What a saved result says about itself.
 * @param {Scene} scene
 * @param {Choice} choice
 */
export function describe(scene, { target, result, layer, picture }) {
  return {
    network: scene.network,
    method: result.method,
    class: target.label,
    index: target.index,
    ...(target.probability !== null ? { probability: target.probability } : target.output !== undefined ? { output: target.output } : { against: target.negative }),
    layer: layer.name,
    image: picture.name,
    versions: scene.versions,
  };
}

/**
 * @param {Scene} scene
 * @param {Choice} choice
 */
export function asJson(scene, choice) {
  const { piece, explained, layer } = choice;
  const values = isUnits(piece)
    ? { neurons: piece.indices, relevance: Array.from(numbers(piece.values)), of: piece.size }
    : { shape: piece.shape, relevance: Array.from(numbers(piece)) };
  return JSON.stringify({ ...describe(scene, choice), ...values, ...(layer.name === "input" && explained.faithfulness ? { faithfulness: explained.faithfulness } : {}), ledger: explained.ledger[layer.name] ?? null });
}

/**
 * @param {Scene} scene
 * @param {Choice} choice
 * @param {Look} look
 */
export async function asPng(scene, choice, look) {
  const { picture, piece, target, result, layer } = choice;
  if (isUnits(piece)) throw new Error("A layer without extent in space has no picture to save; save its numbers instead.");
  const dark = look.theme === "dark";
  const beside = look.view === "beside";
  const panes = beside ? 2 : 1;
  const room = (WIDTH - MARGIN * (panes + 1)) / panes;
  const paneHeight = Math.min(TALLEST, (room * picture.height) / picture.width);
  const paneWidth = (paneHeight * picture.width) / picture.height;
  const left = MARGIN + (room - paneWidth) / 2;
  const top = 118;
  const canvas = canvasOf(WIDTH, Math.round(top + paneHeight + 122));
  const pen = context(canvas);
  const ink = dark ? "#f1eee8" : "#1d1c1a";
  const soft = dark ? "#aba69d" : "#625e57";
  pen.fillStyle = dark ? "#141416" : "#fcfbf9";
  pen.fillRect(0, 0, canvas.width, canvas.height);
  text(pen, isolated(target.label), MARGIN, 58, ink, "600 34px system-ui, sans-serif");
  const said = saying(target);
  const share = said === null ? "" : `${target.probability === null ? "output " : ""}${said} · `;
  const [method, at, network] = [methodTitle(result.method), layer.name, scene.network].map(isolated);
  const about = `${share}${method} · layer ${at} · ${network}`;
  text(pen, about, MARGIN, 92, soft, "19px system-ui, sans-serif");

  const limit = limitOf(piece, look.clip);
  const heat = canvasOf(picture.width, picture.height);
  const image = new ImageData(picture.width, picture.height);
  const cover = look.view === "strength" ? "strength" : "even";
  paint(laidOver(piece, picture, look.smooth), limit, { ...look, cover }, image.data);
  context(heat).putImageData(image, 0, 0);
  const plates = picture.photo ? await develop(picture.photo) : null;
  pen.imageSmoothingQuality = "high";
  if (plates) {
    pen.save();
    pen.translate(left, top);
    drawPhoto(pen, plates, { ...look, width: paneWidth, height: paneHeight, mode: look.view });
    pen.restore();
  }
  pen.globalAlpha = beside ? 1 : look.opacity;
  pen.drawImage(heat, beside ? left + room + MARGIN : left, top, paneWidth, paneHeight);
  pen.globalAlpha = 1;

  const y = top + paneHeight + 24;
  const barWidth = WIDTH - 2 * MARGIN;
  for (let i = 0; i < 255; i++) {
    pen.fillStyle = css(i - 127, 127, look);
    pen.fillRect(MARGIN + (i * barWidth) / 255, y, barWidth / 255 + 1, 14);
  }
  const small = "17px system-ui, sans-serif";
  text(pen, number(-limit), MARGIN, y + 38, soft, small);
  text(pen, "0", WIDTH / 2, y + 38, soft, small, "center");
  text(pen, number(limit, { plus: true }), WIDTH - MARGIN, y + 38, soft, small, "right");
  const { positive, negative } = massesOf(piece);
  const foot = `${percent(positiveShare({ positive, negative }))} of the relevance is positive · ${Object.entries(scene.versions)
    .map(([name, version]) => `${isolated(name)} ${isolated(version)}`)
    .join(" · ")}`;
  text(pen, foot, MARGIN, y + 72, soft, "15px system-ui, sans-serif");
  return new Promise((/** @type {(blob: Blob) => void} */ resolve, reject) => {
    canvas.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("The browser could not write a PNG."))), "image/png");
  });
}

/**
 * @param {CanvasRenderingContext2D} pen
 * @param {string} words
 * @param {number} x
 * @param {number} y
 * @param {string} colour
 * @param {string} font
 * @param {CanvasTextAlign} [align]
 */
function text(pen, words, x, y, colour, font, align = "left") {
  pen.fillStyle = colour;
  pen.font = font;
  pen.textAlign = align;
  pen.fillText(words, x, y, WIDTH - 2 * MARGIN);
}

/**
 * @param {Scene} scene
 * @param {Choice} choice
 * @param {Look} look
 */
export async function savePng(scene, choice, look) {
  download(`${fileName(choice)}.png`, await asPng(scene, choice, look));
}

/**
 * @param {Scene} scene
 * @param {Choice} choice
 */
export function saveJson(scene, choice) {
  download(`${fileName(choice)}.json`, new Blob([asJson(scene, choice)], { type: "application/json" }));
}

/** @param {Choice} choice */
function fileName({ target, result, layer }) {
  return slug(`${target.label}-${result.method}-${layer.name}`);
}
