// A place for one file: dropped, chosen or pasted; sent at once, so that a refusal stands beside it.
import { findPeople, getUpload, Refusal, upload } from "./api.js";
import { el, fill, ICONS, icon, newId, say } from "./dom.js";
import { bytes, duration, percent } from "./format.js";
import { blobOf, canvasOf } from "./pictures.js";
import { wordsOf } from "./problems.js";
import { t } from "./texts.js";

function about(file) {
  const parts = [file.name];
  if (file.width) parts.push(`${file.width} × ${file.height}`);
  if (file.kind === "video" && file.seconds) parts.push(duration(file.seconds));
  if (file.bytes) parts.push(bytes(file.bytes));
  return parts.filter(Boolean).join(" · ");
}

const pictures = new Map(); // id of an upload -> canvas, so that a panel that is drawn again has it

/** A canvas of an upload: of the file itself, or else of its first frame, which the server reads. */
async function pictureOf(stored, file) {
  const label = t("file.shown", { name: stored.name ?? "" });
  const blob = file ?? (stored.kind === "image" ? null : undefined);
  let canvas = blob && stored.kind === "image" ? await canvasOf(blob, label) : null;
  if (!canvas) {
    const found = await findPeople(stored.id, 0, "largest");
    canvas = await canvasOf(blobOf(found.frame ?? found.picture), label);
  }
  if (canvas) pictures.set(stored.id, canvas);
  return canvas;
}

/**
 * `file`: {role, kind, optional} of a task; `stored`: an upload that is there already.
 * `change` is called with the upload, or undefined. Returns {node, name, refuse(words), send(File)}.
 */
export function makeDrop(file, stored, change) {
  const id = newId("file");
  const wanted = file.kind.split(",");
  const accept = wanted.map((kind) => `${kind}/*`).join(",");
  const input = el("input", { type: "file", id, accept, name: file.role, "aria-describedby": `${id}-wrong` });
  const wrong = el("p", { class: "wrong", id: `${id}-wrong`, role: "alert" });
  const zone = el("div", { class: "zone" });
  const title = el("label", { class: "title", for: id }, t(`role.${file.role}`), file.optional ? ` (${t("optional")})` : "");
  const below = el("div", { class: "about" });
  const node = el("div", { class: "drop", data: { role: file.role } }, title, zone, below, wrong);

  function empty() {
    node.dataset.state = "empty";
    const help = el("span", { class: "hint" }, t(`role.${file.role}.hint`));
    fill(zone, icon(ICONS[wanted.at(-1)]), el("strong", {}, t(`file.drop.${wanted[0]}`)), help, input);
    fill(below);
  }

  function there(upload, own) {
    node.dataset.state = "there";
    const remove = el("button", { type: "button", on: { click: clear } }, t("file.remove"));
    const words = el("span", { class: "hint" }, about(upload));
    fill(below, words, remove);
    const waiting = el("span", { class: "hint" }, t("file.reading"));
    const show = (canvas) => {
      canvas?.classList.add("shown");
      fill(zone, canvas ?? icon(ICONS[upload.kind] ?? ICONS.image, 48), input);
    };
    if (pictures.has(upload.id)) return show(pictures.get(upload.id));
    fill(zone, waiting, input);
    return pictureOf(upload, own).then(show, () => show(null));
  }

  function refuse(words) {
    fill(wrong, words);
    if (words.length) {
      node.dataset.state = "wrong";
      input.setAttribute("aria-invalid", "true");
      input.focus();
    } else input.removeAttribute("aria-invalid");
  }

  function clear() {
    input.value = "";
    refuse("");
    empty();
    change(undefined);
    input.focus();
  }

  async function send(chosen) {
    refuse("");
    node.dataset.state = "sending";
    const shown = el("strong", {}, t("file.sending", { share: percent(0) }));
    fill(zone, shown);
    try {
      const answer = await upload(chosen, (share) => (shown.textContent = t("file.sending", { share: percent(share) })));
      const kept = { name: chosen.name, ...answer };
      if (kept.kind && !wanted.includes(kept.kind)) {
        throw Object.assign(new Refusal(t(`file.wrong.${wanted[0]}`), 415), { isOurs: true });
      }
      say(t("file.there", { name: chosen.name }));
      there(kept, chosen);
      change(kept);
    } catch (error) {
      const words = wordsOf(error);
      empty();
      change(undefined);
      refuse(words);
    }
  }

  input.addEventListener("change", () => input.files.length && send(input.files[0]));
  zone.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.dataset.over = "";
  });
  zone.addEventListener("dragleave", () => delete zone.dataset.over);
  zone.addEventListener("drop", (event) => {
    event.preventDefault();
    delete zone.dataset.over;
    if (event.dataTransfer.files.length) send(event.dataTransfer.files[0]);
  });
  if (stored) there(stored);
  else empty();
  return { node, name: file.role, refuse, send };
}

/** What the server knows of an upload; its id alone where it is gone or not told. */
export async function describe(id) {
  try {
    return await getUpload(id);
  } catch {
    return { id };
  }
}
