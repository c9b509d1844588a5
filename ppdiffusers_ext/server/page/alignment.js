// How the poses of the driving video will lie over the picture: what the run aligns, shown before it runs.
import { showAlignment } from "./api.js";
import { el, fill } from "./dom.js";
import { number } from "./format.js";
import { blobOf, canvasOf } from "./pictures.js";
import { wordsOf } from "./problems.js";
import { t } from "./texts.js";

const PAUSE = 50; // ms
// Options that other poses, or another way to lay them over the picture, follow from.
const RELEVANT = new Set([
  "model", "width", "height", "resize", "frames", "fps", "num_frames", "person", "align", "unseen_joints", "gap", "smoothing",
  "poses", "no_hands", "no_face",
]);

const joints = (names) => names.map((name) => t(`joint.${name}`)).join(t("list"));

function notesOf(found) {
  const notes = [];
  if (!found.has_person) notes.push(t("align.nobody"));
  if (!found.is_exact) notes.push(t("align.some", { frames: number(found.frames), of: number(found.of) }));
  if (found.missing.length) notes.push(t("align.missing", { joints: joints(found.missing) }));
  if (found.from_picture.length) notes.push(t("align.from", { joints: joints(found.from_picture) }));
  return notes.map((text) => el("p", { class: "hint" }, text));
}

/** {node, ask(job, frame)}; a job of null is one that lacks something. */
export function makeAlignment() {
  const node = el("figure", { class: "aligned", "aria-live": "polite" });
  let [timer, asked, shown] = [null, 0, null];
  const words = (text) => fill(node, el("div", { class: "stage blank" }, el("p", { class: "hint" }, text)), el("figcaption", {}, t("align.title")));

  async function run(job, frame) {
    const mine = asked;
    if (shown === null) words(t("align.looking"));
    node.setAttribute("aria-busy", "true");
    try {
      const found = await showAlignment(job, frame);
      const canvas = await canvasOf(blobOf(found.picture), t("align.title"));
      if (mine !== asked) return;
      shown = found;
      fill(node, el("div", { class: "stage" }, canvas), el("figcaption", {}, t("align.title")), notesOf(found));
    } catch (error) {
      if (mine !== asked) return;
      shown = null;
      fill(node, el("div", { class: "stage blank" }, el("p", { class: "wrong" }, wordsOf(error))), el("figcaption", {}, t("align.title")));
    } finally {
      if (mine === asked) node.removeAttribute("aria-busy");
    }
  }

  let last = "";
  function ask(job, frame) {
    const options = job && Object.entries(job.options).filter(([name]) => RELEVANT.has(name));
    const wanted = job ? JSON.stringify([job.system, options, job.files, frame]) : "";
    if (wanted && wanted === last) return;
    last = wanted;
    asked += 1;
    clearTimeout(timer);
    if (job) timer = setTimeout(() => run(job, frame), PAUSE);
    else {
      shown = null;
      words(t("align.later"));
    }
  }
  words(t("align.later"));
  return { node, ask };
}
