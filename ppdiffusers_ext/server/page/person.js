// Who is animated: people in a frame of the driving video, those of the picture, and how the one will lie over the other.
import { makeAlignment } from "./alignment.js";
import { findPeople } from "./api.js";
import { el, fill, newId, say } from "./dom.js";
import { blobOf, canvasOf } from "./pictures.js";
import { wordsOf } from "./problems.js";
import { segments } from "./radios.js";
import { t } from "./texts.js";

function boxOf(found, index, group, choose) {
  const { box, chosen } = found.people[index];
  const [left, top, right, bottom] = box;
  const name = t("person.number", { number: index + 1 });
  const input = el("input", { type: "radio", name: group, "aria-label": name });
  input.checked = chosen;
  input.addEventListener("change", () => choose(index));
  const label = el("label", {}, input, el("span", {}, index + 1));
  const share = (value, whole) => `${(100 * Math.min(Math.max(value, 0), whole)) / whole}%`;
  label.style.left = share(left, found.width);
  label.style.top = share(top, found.height);
  label.style.width = share(right - left, found.width);
  label.style.height = share(bottom - top, found.height);
  return label;
}

async function stageOf(found, caption, choose) {
  const canvas = await canvasOf(blobOf(found.picture), caption);
  const group = newId("people");
  const boxes = choose ? found.people.map((person, index) => boxOf(found, index, group, choose)) : [];
  const words = found.people.length ? caption : t("person.nobody");
  return el("figure", {}, el("div", { class: "stage" }, canvas, boxes), el("figcaption", {}, words));
}

function refused(error) {
  return el("p", { class: "wrong" }, wordsOf(error));
}

/** The people of the driving video, and the slider of its frames. */
function makeDriver(draft, changed) {
  const place = el("div", { "aria-live": "polite" }, el("p", { class: "hint" }, t("person.looking")));
  const video = draft.files.driving_video;
  const last = Math.max(0, (video.frames ?? 1) - 1);
  const slider = el("input", { type: "range", min: 0, max: last, value: 0, "aria-label": t("person.frame") });
  let asked = 0;

  async function show() {
    asked += 1;
    const mine = asked;
    try {
      const found = await findPeople(video.id, Number(slider.value), String(draft.options.person ?? "largest"));
      const stage = await stageOf(found, t("person.driver", { count: found.people.length }), choose);
      if (mine === asked) fill(place, stage);
    } catch (error) {
      if (mine === asked) fill(place, refused(error));
    }
  }

  function choose(person) {
    draft.options.person = person;
    say(typeof person === "number" ? t("person.chosen", { number: person + 1 }) : t(`person.${person}`));
    show();
    changed();
  }

  slider.addEventListener("change", () => {
    show();
    changed();
  });
  show();
  const frames = last ? el("label", { class: "field" }, el("span", { class: "hint" }, t("person.frame")), slider) : null;
  return { node: el("div", { class: "stack" }, place, frames), choose, frame: () => Number(slider.value) };
}

async function showPicture(place, id) {
  try {
    fill(place, await stageOf(await findPeople(id, 0, "largest"), t("person.picture")));
  } catch (error) {
    fill(place, refused(error));
  }
}

/** `draft`: of the task; `changed` is called when another person or frame is chosen. Returns {node, align(job)}. */
export function makePerson(draft, changed) {
  const driver = makeDriver(draft, changed);
  const alignment = makeAlignment();
  const picture = el("div");
  if (draft.files.reference_image) showPicture(picture, draft.files.reference_image.id);
  const rules = ["largest", "left", "right"].map((value) => ({ value, label: t(`person.${value}`) }));
  const node = el("div", { class: "stack" },
    segments(t("person.rule"), rules, draft.options.person ?? "largest", driver.choose),
    el("div", { class: "people" }, driver.node, picture, alignment.node),
    el("p", { class: "hint" }, t("person.align")));
  return { node, align: (job) => alignment.ask(job, driver.frame()) };
}
