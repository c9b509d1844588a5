// Refusals of the server in the page's language: by their code, or its words within a sentence of ours.
import { el } from "./dom.js";
import { number } from "./format.js";
import { bounds, chosenText, labelOf } from "./labels.js";
import { has, language, t } from "./texts.js";

// Names of values -> beginnings of the keys of texts that such values have.
const NAMED = { role: "role", roles: "role", state: "state", kind: "kind", given: "kind", system: "system", model: "model", rung: "rung" };

function shown(name, value) {
  if (Array.isArray(value)) return value.map((one) => shown(name, one)).join(t("list"));
  if (name === "option") return labelOf(value);
  if (name === "choices") return chosenText(value);
  const key = `${NAMED[name]}.${value}`;
  if (has(key)) return t(key);
  return typeof value === "number" ? number(value) : String(value ?? "");
}

function places(values) {
  const found = Object.fromEntries(Object.entries(values).map(([name, value]) => [name, shown(name, value)]));
  if (values.why) found.why = t(`why.${values.why}`, found);
  if ("min" in values) {
    const accepted = bounds(values);
    found.bounds = accepted && t("field.bounds", { accepted });
  }
  return found;
}

/** What the server told, as what an element can be filled with: {message or error or text, code, values}. */
export function told({ message, error, text, code, values = {} }) {
  const words = message ?? error ?? text ?? "";
  if (language() === "en" || !words) return [words];
  if (has(`refusal.${code}`)) return [t(`refusal.${code}`, places(values))];
  return [t("problem.words"), el("span", { lang: "en" }, words)];
}
