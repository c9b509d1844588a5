// One option as a control with its label, help and place for an error, made from its declaration.
import { el, fill, newId } from "./dom.js";
import { bounds, chosenText, helpOf, labelOf, placeholder, problem } from "./labels.js";
import { t } from "./texts.js";

function inputOf(field, id, value, change) {
  const common = { id, name: field.name, "aria-describedby": `${id}-help ${id}-wrong` };
  if (field.choices?.length) {
    const empty = field.default === null || field.default === undefined;
    const options = field.choices.map((one) => el("option", { value: JSON.stringify(one) }, chosenText(one)));
    if (empty) options.unshift(el("option", { value: "" }, t("field.automatic")));
    const select = el("select", common, options);
    select.value = value === undefined || value === null ? (empty ? "" : JSON.stringify(field.default)) : JSON.stringify(value);
    select.addEventListener("change", () => change(select.value === "" ? undefined : JSON.parse(select.value)));
    return select;
  }
  if (field.kind === "int" || field.kind === "float") {
    const input = el("input", { ...common, type: "number", step: field.kind === "int" ? 1 : "any", inputmode: "decimal" });
    input.placeholder = placeholder(field);
    input.value = value ?? "";
    input.addEventListener("input", () => change(input.value.trim() === "" ? undefined : Number(input.value)));
    return input;
  }
  const long = field.name.endsWith("prompt");
  const input = el(long ? "textarea" : "input", { ...common, type: long ? null : "text", rows: long ? 3 : null });
  input.placeholder = long ? t(`hint.${field.name}`) : placeholder(field);
  input.value = value ?? "";
  input.addEventListener("input", () => change(input.value === "" ? undefined : input.value));
  return input;
}

function tick(field, id, value, change) {
  const input = el("input", { type: "checkbox", id, name: field.name, "aria-describedby": `${id}-help ${id}-wrong` });
  input.checked = value ?? field.default ?? false;
  input.addEventListener("change", () => change(input.checked));
  return [el("label", { class: "tick" }, input, el("span", {}, labelOf(field.name)))];
}

/** Two numbers, such as a part of the steps. */
function pair(field, id, value, change) {
  const inputs = [0, 1].map((place) => {
    const label = `${labelOf(field.name)}: ${t(place ? "field.to" : "field.since")}`;
    const input = el("input", { type: "number", step: "any", "aria-label": label, "aria-describedby": `${id}-help ${id}-wrong` });
    input.value = value?.[place] ?? "";
    return input;
  });
  const tell = () => {
    const given = inputs.map((input) => input.value.trim());
    change(given.every((text) => text === "") ? undefined : given.map((text) => (text === "" ? null : Number(text))));
  };
  for (const input of inputs) input.addEventListener("input", tell);
  return el("div", { class: "pair" }, inputs[0], "–", inputs[1]);
}

/**
 * A control of one option.
 * Returns {node, name, refuse(words), isWrong()}; `change` is called with the value, undefined where it is the default's.
 */
export function makeField(field, value, change) {
  const id = newId(field.name);
  const wrong = el("p", { class: "wrong", id: `${id}-wrong`, role: "alert" });
  const help = el("p", { class: "hint", id: `${id}-help` });
  fill(help, [helpOf(field), bounds(field)].filter(Boolean).join(" · "));
  let now = value;
  const told = (given) => {
    now = given;
    refuse(problem(field, given), false);
    change(given);
  };
  const isTick = field.kind === "bool" && field.default !== null;
  const choices = field.kind === "bool" && !isTick ? { choices: [true, false] } : {};
  let control;
  if (isTick) control = tick(field, id, value, told);
  else if (field.kind === "list") control = [el("span", { class: "title" }, labelOf(field.name)), pair(field, id, value, told)];
  else control = [el("label", { for: id }, labelOf(field.name)), inputOf({ ...field, ...choices }, id, value, told)];
  const node = el("div", { class: field.name.endsWith("prompt") ? "field wide" : "field", data: { option: field.name } }, control, help, wrong);
  const refuse = (words, focus = true) => {
    fill(wrong, words);
    for (const input of node.querySelectorAll("input, select, textarea")) {
      if (words.length) input.setAttribute("aria-invalid", "true");
      else input.removeAttribute("aria-invalid");
    }
    if (words.length && focus) node.querySelector("input, select, textarea").focus();
  };
  return { node, name: field.name, refuse, isWrong: () => problem(field, now) !== "" };
}
