// Which system and which weights: what is there, and the command that fetches what is not.
import { el, newId, say } from "./dom.js";
import { told } from "./refusals.js";
import { has, t } from "./texts.js";

function select(label, items, chosen, change) {
  const id = newId("model");
  const options = items.map(({ value, label: text }) => el("option", { value }, text));
  const node = el("select", { id, on: { change: (event) => change(event.target.value) } }, options);
  node.value = chosen;
  return el("div", { class: "field" }, el("label", { for: id }, label), node);
}

const systemName = (name) => (has(`system.${name}`) ? t(`system.${name}`) : name);

function command(text) {
  const copied = async () => {
    await navigator.clipboard?.writeText(text);
    say(t("copied"));
  };
  const button = navigator.clipboard && el("button", { type: "button", on: { click: copied } }, t("copy"));
  return el("div", { class: "command" }, el("code", {}, text), button);
}

function problemOf(model) {
  if (model?.missing?.length) {
    const files = el("ul", { class: "hint" }, model.missing.map((name) => el("li", {}, name)));
    const details = el("details", {}, el("summary", {}, t("model.files")), files);
    return el("div", {}, el("p", { class: "wrong" }, t("model.fetch", { count: model.missing.length })), details);
  }
  return el("p", { class: "wrong" }, model?.problem ? told({ ...model, text: model.problem }) : t("run.weights"));
}

/** `choose` is called with what changes in the draft. */
export function makeModel(systems, name, system, model, choose) {
  const parts = [];
  if (systems.length > 1) {
    const items = systems.map((value) => ({ value, label: systemName(value) }));
    parts.push(select(t("model.system"), items, name, (value) => choose({ system: value, model: null })));
  } else parts.push(el("h2", {}, systemName(name)));
  const words = ({ name: value, ready }) => {
    const called = has(`model.${value}`) ? t(`model.${value}`) : value;
    return { value, label: ready ? called : `${called} (${t("model.missing")})` };
  };
  if (model) parts.push(select(t("model.weights"), system.models.map(words), model.name, (value) => choose({ model: value })));
  if (model?.ready && model.is_demo) parts.push(el("p", { class: "hint" }, t("model.demo.hint")));
  if (!model?.ready) {
    parts.push(problemOf(model));
    if (model?.command) parts.push(command(model.command));
  }
  return el("div", { class: "stack" }, parts);
}
