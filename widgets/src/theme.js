// Light or dark: from Jupyter's own mark, from the editor's, or from the system.

/** @typedef {import("./colour.js").Theme} Theme */

const DARK = "(prefers-color-scheme: dark)";

/** @returns {Theme} */
export function ambientTheme() {
  const { body } = document;
  const jupyter = body.dataset.jpThemeLight ?? document.querySelector("[data-jp-theme-light]")?.getAttribute("data-jp-theme-light");
  if (jupyter === "true" || jupyter === "false") return jupyter === "true" ? "light" : "dark";
  const editor = body.dataset.vscodeThemeKind ?? "";
  if (editor.includes("vscode")) return editor.includes("light") ? "light" : "dark";
  const chosen = document.documentElement.dataset.theme;
  if (chosen === "light" || chosen === "dark") return chosen;
  return matchMedia(DARK).matches ? "dark" : "light";
}

/**
 * Call back now and whenever the theme changes.
 * @param {(theme: Theme) => void} callback
 * @returns {() => void} stops watching
 */
export function watchTheme(callback) {
  /** @type {Theme | null} */
  let last = null;
  const check = () => {
    const theme = ambientTheme();
    if (theme !== last) callback((last = theme));
  };
  const query = matchMedia(DARK);
  const observer = new MutationObserver(check);
  const attributeFilter = ["data-jp-theme-light", "data-vscode-theme-kind", "data-theme"];
  query.addEventListener("change", check);
  observer.observe(document.body, { attributes: true, attributeFilter });
  observer.observe(document.documentElement, { attributes: true, attributeFilter });
  check();
  return () => {
    query.removeEventListener("change", check);
    observer.disconnect();
  };
}
