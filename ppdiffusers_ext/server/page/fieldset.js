// The settings of a mode: those that stand in front, and the others under "more settings", by their groups.
import { el } from "./dom.js";
import { makeField } from "./field.js";
import { makeLoras } from "./loras.js";
import { cards } from "./radios.js";
import { FRONT } from "./tasks.js";
import { has, language, t } from "./texts.js";

const groupTitle = (mode, name) => {
  return mode.groups.find((group) => group.name === name)?.[`title_${language()}`] ?? name;
};

function presetCards(mode, defaults, options, change) {
  const field = mode.fields.find((one) => one.name === "preset");
  if (!field) return null;
  const chosen = options.preset ?? defaults.preset ?? field.default;
  const words = (key) => (has(key) ? t(key) : "");
  const items = mode.presets.map((value) => ({ value, label: words(`preset.${value}`) || value, help: words(`preset.${value}.hint`) }));
  return cards(t("preset.title"), items, chosen, (value) => change("preset", value));
}

/**
 * `defaults`: those of the model, which go before the fields'. `hidden`: names of options that are set elsewhere on the panel; `change` is called with (name, value or undefined).
 * Returns {words, presets, front, more (elements, null where there is none), fields}.
 */
export function makeFieldset(mode, loras, defaults, options, hidden, change) {
  const ofModel = (field) => ({ ...field, default: field.name in defaults ? defaults[field.name] : field.default });
  const shown = mode.fields.filter((field) => field.name !== "preset" && !hidden.has(field.name)).map(ofModel);
  const made = new Map();
  for (const field of shown) {
    const tell = (value) => change(field.name, value);
    const isLoras = field.name === "loras";
    made.set(field.name, isLoras ? makeLoras(loras, options.loras, tell) : makeField(field, options[field.name], tell));
  }
  const place = (field) => (FRONT.includes(field.name) ? FRONT.indexOf(field.name) : FRONT.length);
  const leading = shown.filter((field) => FRONT.includes(field.name) || !field.advanced).sort((a, b) => place(a) - place(b));
  const groups = new Map();
  for (const field of shown) {
    if (leading.includes(field)) continue;
    groups.set(field.group, [...(groups.get(field.group) ?? []), made.get(field.name).node]);
  }
  const sets = [...groups].map(([name, nodes]) =>
    el("fieldset", { class: "group" }, el("legend", {}, groupTitle(mode, name)), el("div", { class: "fields" }, nodes)));
  const nodes = (fields) => el("div", { class: "fields" }, fields.map((field) => made.get(field.name).node));
  const isWords = (field) => field.name.endsWith("prompt");
  const words = leading.some(isWords) ? nodes(leading.filter(isWords)) : null;
  const front = nodes(leading.filter((field) => !isWords(field)));
  const more = sets.length ? el("details", { class: "more" }, el("summary", {}, t("more")), sets) : null;
  return { words, presets: presetCards(mode, defaults, options, change), front, more, fields: [...made.values()] };
}
