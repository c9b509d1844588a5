// LoRA by name, each with a weight.
import { el, fill } from "./dom.js";
import { t } from "./texts.js";

const WEIGHT = 0.55;

/** `names`: what the server offers. `change` is called with [[name, weight]], undefined for none. Returns a field. */
export function makeLoras(names, value, change) {
  let chosen = (value ?? []).map((pair) => [...pair]);
  const rows = el("div", { class: "stack" });
  const wrong = el("p", { class: "wrong", role: "alert" });

  function tell() {
    wrong.textContent = "";
    change(chosen.length ? chosen : undefined);
  }

  function row(pair, index) {
    const select = el("select", { "aria-label": t("lora.name") }, names.map((name) => el("option", { value: name }, name)));
    select.value = pair[0];
    select.addEventListener("change", () => {
      pair[0] = select.value;
      tell();
    });
    const weight = el("input", { type: "number", step: 0.05, min: -4, max: 4, value: pair[1], "aria-label": t("lora.weight") });
    weight.addEventListener("input", () => {
      pair[1] = Number(weight.value);
      tell();
    });
    const remove = () => {
      chosen.splice(index, 1);
      tell();
      show();
      add.focus();
    };
    return el("div", { class: "pair" }, select, weight, el("button", { type: "button", "aria-label": t("file.remove"), on: { click: remove } }, "×"));
  }

  const add = el("button", { type: "button" }, t("lora.add"));
  add.addEventListener("click", () => {
    chosen = [...chosen, [names[0], WEIGHT]];
    tell();
    show();
  });
  const show = () => fill(rows, chosen.map(row));
  show();
  const control = names.length ? [rows, el("div", {}, add)] : [el("p", { class: "hint" }, t("lora.none"))];
  const node = el("div", { class: "field wide" }, el("span", { class: "title" }, t("option.loras")), control, wrong);
  return { node, name: "loras", refuse: (words) => fill(wrong, words) };
}
