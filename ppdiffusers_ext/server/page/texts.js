// Texts of the page in the chosen language: texts/en.json and texts/zh.json.

export const LANGUAGES = ["en", "zh"];
const KEY = "studio.language";

let texts = {};
let current = "en";

/** The language that was chosen here before, or the browser's, or English. */
export function preferred() {
  const kept = localStorage.getItem(KEY);
  if (LANGUAGES.includes(kept)) return kept;
  const wanted = navigator.languages.map((name) => name.slice(0, 2).toLowerCase());
  return wanted.find((name) => LANGUAGES.includes(name)) ?? "en";
}

export async function load(language) {
  const answer = await fetch(new URL(`texts/${language}.json`, import.meta.url));
  if (!answer.ok) throw new Error(`texts/${language}.json: ${answer.status}`);
  texts = await answer.json();
  current = language;
  document.documentElement.lang = language === "zh" ? "zh-CN" : language;
}

export async function choose(language) {
  await load(language);
  localStorage.setItem(KEY, language);
}

export const language = () => current;
export const has = (key) => key in texts;

/** A text by its key, with {names} filled in; the key itself where there is none. */
export function t(key, values = {}) {
  return (texts[key] ?? key).replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole);
}

/** Put the texts into what stands in the document already: data-text for content, data-label for names. */
export function translate(root) {
  for (const node of root.querySelectorAll("[data-text]")) node.textContent = t(node.dataset.text);
  for (const node of root.querySelectorAll("[data-label]")) {
    node.setAttribute("aria-label", t(node.dataset.label));
    if (node.tagName === "BUTTON") node.title = t(node.dataset.label);
  }
}
