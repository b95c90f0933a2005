// The few lines that stand between the views and the DOM. Text enters as text, never as HTML.

import { names, opposed } from "./format.js";

/** The part of anywidget's model that the views use; StandIn offers the same.
 * @typedef {object} Model
 * @property {(key: string) => any} get
 * @property {(key: string, value: unknown) => void} set
 * @property {(event: string, callback: (...args: any[]) => void) => void} on
 * @property {(event: string, callback: (...args: any[]) => void) => void} off
 * @property {() => void} save_changes
 * @property {(message: unknown, callbacks?: unknown, buffers?: ArrayBuffer[]) => void} send
 */

/** A piece of the interface and how to take it down again.
 * @typedef {{el: HTMLElement, destroy: () => void}} View
 */

/** @typedef {string | number | boolean | null | undefined | ((event: any) => void)} Attribute */

const FIELDS = new Set(["button", "input", "select"]);

/**
 * An element. `on…` keys are listeners, `text` is its text, other keys are attributes; false and null leave one out.
 * JupyterLab and Notebook 7 take keys for their cells from every element with the focus that lacks a mark of theirs, even
 * within one that has it, so everything that is made to have the focus is marked.
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, Attribute>} [attributes]
 * @param {...(Node | string | null)} children
 * @returns {HTMLElementTagNameMap[T]}
 */
export function h(tag, attributes = {}, ...children) {
  const el = document.createElement(tag);
  if (FIELDS.has(tag) || "tabindex" in attributes) el.setAttribute("data-lm-suppress-shortcuts", "true");
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") el.addEventListener(key.slice(2), value);
    else if (key === "text") el.textContent = String(value);
    else set(el, key, value);
  }
  for (const child of children) if (child !== null) el.append(child);
  return el;
}

/**
 * What somebody else gave a name: each of its names is an element of its own, with which its direction ends, and which
 * breaks where there is no room.
 * @param {string} label
 */
export function named(label) {
  return h("span", {}, ...opposed(names(label).map((text) => h("bdi", { text }))));
}

/**
 * @param {Element} el
 * @param {string} name
 * @param {Exclude<Attribute, Function>} value
 */
export function set(el, name, value) {
  if (value === false || value === null || value === undefined) el.removeAttribute(name);
  else el.setAttribute(name, value === true ? "" : String(value));
}

let count = 0;
/** Every bundle counts for itself, and several share a document. */
const mine = Math.random().toString(36).slice(2, 8);

/** A fresh id, so that labels find their own fields, and radio buttons their own group.
 * @param {string} stem
 */
export function fresh(stem) {
  count += 1;
  return `rl-${stem}-${mine}-${count}`;
}

/**
 * Run a callback now and whenever one of the keys changes, at most once per turn of the event loop.
 * @param {Model} model
 * @param {string[]} keys
 * @param {() => void} callback
 * @returns {() => void} stops watching
 */
export function watch(model, keys, callback) {
  let due = false;
  let alive = true;
  const later = () => {
    if (due) return;
    due = true;
    queueMicrotask(() => {
      due = false;
      if (alive) callback();
    });
  };
  for (const key of keys) model.on(`change:${key}`, later);
  callback();
  return () => {
    alive = false;
    for (const key of keys) model.off(`change:${key}`, later);
  };
}

/**
 * Run a callback once before the next frame, however often it is asked for.
 * @param {() => void} callback
 */
export function onFrame(callback) {
  let handle = 0;
  return {
    ask() {
      handle ||= requestAnimationFrame(() => {
        handle = 0;
        callback();
      });
    },
    cancel() {
      cancelAnimationFrame(handle);
      handle = 0;
    },
  };
}

/** @param {string} name @param {Blob} blob */
export function download(name, blob) {
  const href = URL.createObjectURL(blob);
  h("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}
