// Refusals of the server in words, and where on the page they belong.
import { el, fill } from "./dom.js";
import { told } from "./refusals.js";
import { t } from "./texts.js";

/** What to tell of a refusal, as what an element can be filled with: the server's own words, or ours where it has none. */
export function wordsOf(error) {
  if (error.status === 401) return [`${t("problem.token")} `, el("a", { href: "./" }, t("problem.sign"))];
  if (error.message && "status" in error) return error.isOurs ? [error.message] : told(error);
  if (error.status === 0) return [t("problem.offline")];
  if (error.status) return [t("problem.other", { status: error.status })];
  throw error; // a mistake of the page, for the console
}

/** Tell something on top of the page; nothing takes it away. */
export function tell(words) {
  const place = document.getElementById("notice");
  if (!words?.length) return fill(place);
  const close = el("button", { type: "button", class: "quiet", "aria-label": t("close"), on: { click: () => tell("") } }, "×");
  fill(place, el("div", { class: "notice" }, el("span", {}, words), close));
  return place.scrollIntoView({ block: "nearest" });
}

/** The field that a refusal is about: by its values, or by the name with which the server's words begin. */
export function fieldOf(error, fields) {
  const { option, role, roles } = error.values ?? {};
  const [first] = error.message?.match(/^[\w-]+/) ?? [""];
  const named = [option, role, roles?.[0], first.replace(/^-+/, "").replaceAll("-", "_")];
  return fields.find((field) => named.includes(field.name));
}

/** Show a refusal beside the field that it is about, or on top. `fields`: of {name, node, refuse(words)}. */
export function place(error, fields) {
  const words = wordsOf(error);
  const named = fieldOf(error, fields);
  if (!named) return tell(words);
  named.node.closest("details")?.setAttribute("open", "");
  return named.refuse(words);
}
