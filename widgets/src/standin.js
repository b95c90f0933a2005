// A model in the browser alone: in place of a widget's model in the page, and what the views of one widget share.

export class StandIn {
  /** @param {Record<string, unknown>} values */
  constructor(values) {
    this.values = new Map(Object.entries(values));
    /** @type {Map<string, Set<(...args: any[]) => void>>} */
    this.listeners = new Map();
    /** @type {(message: any, callbacks?: unknown, buffers?: ArrayBuffer[]) => void} there is nobody to ask, unless given */
    this.send = () => {};
    /** @type {Set<(message: any, buffers: DataView[]) => void>} */
    this.hearers = new Set();
  }

  /** @param {string} key @returns {any} */
  get(key) {
    return this.values.get(key);
  }

  /** @param {string} key @param {unknown} value */
  set(key, value) {
    if (this.values.get(key) === value) return;
    this.values.set(key, value);
    for (const event of [`change:${key}`, "change"]) {
      for (const callback of [...(this.listeners.get(event) ?? [])]) callback(this, value);
    }
  }

  /** @param {string} event @param {(...args: any[]) => void} callback */
  on(event, callback) {
    const callbacks = this.listeners.get(event) ?? new Set();
    this.listeners.set(event, callbacks.add(callback));
  }

  /** @param {string} event @param {(...args: any[]) => void} callback */
  off(event, callback) {
    this.listeners.get(event)?.delete(callback);
  }

  /** There is nobody to save to. */
  save_changes() {}

  /** @param {(message: any, buffers: DataView[]) => void} hearer */
  onMessage(hearer) {
    this.hearers.add(hearer);
  }

  /** @param {any} message @param {DataView[]} buffers */
  tell(message, buffers) {
    for (const hearer of this.hearers) hearer(message, buffers);
  }
}
