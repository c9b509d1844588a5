// One of a few, as radio buttons that look like segments or like cards.
import { el, newId } from "./dom.js";

function radio(group, value, chosen, change) {
  const input = el("input", { type: "radio", name: group, value });
  input.checked = value === chosen;
  input.addEventListener("change", () => change(value));
  return input;
}

/** `items`: [{value, label}]; `label` names the whole for screen readers. */
export function segments(label, items, chosen, change) {
  const group = newId("segments");
  const labels = items.map((item) => el("label", {}, radio(group, item.value, chosen, change), el("span", {}, item.label)));
  return el("fieldset", { class: "segments", "aria-label": label }, labels);
}

/** `items`: [{value, label, help}]. */
export function cards(label, items, chosen, change) {
  const group = newId("cards");
  const labels = items.map((item) =>
    el("label", {}, radio(group, item.value, chosen, change), el("strong", {}, item.label), el("span", { class: "hint" }, item.help)));
  return el("fieldset", { class: "choices", "aria-label": label }, labels);
}
