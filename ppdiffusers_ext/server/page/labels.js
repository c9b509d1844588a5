// What an option is called, what it does, and which values it takes.
import { number } from "./format.js";
import { has, language, t } from "./texts.js";

/** The name of an option as people say it. */
export function labelOf(name) {
  if (has(`option.${name}`)) return t(`option.${name}`);
  const words = name.replaceAll("_", " ");
  return words[0].toUpperCase() + words.slice(1);
}

export const helpOf = (field) => field[`help_${language()}`] ?? field.help_en ?? "";
export const chosenText = (value) => (has(`choice.${value}`) ? t(`choice.${value}`) : String(value));

/** What stands in an empty field. */
export function placeholder(field) {
  if (field.default === null || field.default === undefined) return field[`unset_${language()}`] || t("field.automatic");
  return String(field.default);
}

/** The values of a number that are accepted, in words; empty where all are. */
export function bounds({ min, max }) {
  const low = min !== null && min !== undefined;
  const high = max !== null && max !== undefined && Math.abs(max) < 1e12;
  if (low && high) return t("field.between", { min: number(min), max: number(max) });
  if (low) return t("field.from", { min: number(min) });
  return high ? t("field.upto", { max: number(max) }) : "";
}

/** What is wrong with a value, in words; empty where nothing is. The server checks it again. */
export function problem(field, value) {
  if (value === undefined || (field.kind !== "int" && field.kind !== "float")) return "";
  const isNumber = field.kind === "int" ? Number.isSafeInteger(value) : Number.isFinite(value);
  if (!isNumber) return t(`field.wrong.${field.kind}`);
  return value < (field.min ?? -Infinity) || value > (field.max ?? Infinity) ? t("field.wrong", { accepted: bounds(field) }) : "";
}
