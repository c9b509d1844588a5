// The result of a job: the video with its sound or the picture, what lies beside it, downloads, the report.
import { getReport, resultOf } from "./api.js";
import { el, fill, ICONS, icon } from "./dom.js";
import { segments } from "./radios.js";
import { makeReport } from "./report.js";
import { t } from "./texts.js";

const VIEWS = ["result", "side_by_side", "sheet"];

/** The type of a file of the server's, asked for with one byte of it. */
async function typeOf(address) {
  const answer = await fetch(address, { headers: { Range: "bytes=0-0" } });
  return answer.headers.get("Content-Type") ?? "";
}

async function showing(job, name) {
  const address = resultOf(job.id, name);
  const label = t(`view.${name}`);
  const type = await typeOf(address);
  if (type.startsWith("image/")) return el("img", { src: address, alt: label });
  const video = el("video", { src: address, controls: true, loop: true, playsinline: true, preload: "auto", "aria-label": label });
  video.addEventListener("loadedmetadata", () => video.classList.toggle("small", video.videoHeight < 200));
  return video;
}

function downloads(job, names) {
  const link = (name) => {
    const settings = { class: name === "result" ? "button primary" : "button", href: resultOf(job.id, name), download: "" };
    return el("a", settings, icon(ICONS.download, 18), t(`download.${name}`));
  };
  return el("div", { class: "row" }, names.map(link));
}

/** The elements of a job that is done. */
export function makeResult(job) {
  const views = VIEWS.filter((name) => job.results.includes(name));
  const screen = el("figure", { class: "screen" });
  const choose = async (name) => {
    const wanted = (screen.dataset.view = name);
    const node = await showing(job, name);
    if (screen.dataset.view === wanted) fill(screen, node);
  };
  const items = views.map((value) => ({ value, label: t(`view.${value}`) }));
  const parts = [views.length > 1 ? segments(t("view.label"), items, views[0], choose) : null, screen];
  if (views.length) choose(views[0]);
  parts.push(downloads(job, ["result", "side_by_side", "sheet", "report_page"].filter((name) => job.results.includes(name))));
  if (job.results.includes("report")) {
    const place = el("section", { class: "stack" });
    getReport(job.id).then((report) => fill(place, makeReport(report)), () => fill(place));
    parts.push(place);
  }
  return parts;
}
