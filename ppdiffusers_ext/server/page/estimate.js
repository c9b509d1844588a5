// Memory and time before the run: asked a moment after the last change.
import { plan } from "./api.js";
import { el, fill } from "./dom.js";
import { bytes, duration, percent } from "./format.js";
import { wordsOf } from "./problems.js";
import { told } from "./refusals.js";
import { has, t } from "./texts.js";

const PAUSE = 700; // ms

/** {node, ask(job), clear()}; `answered` is called with true where nothing speaks against the run. */
export function makeEstimate(answered) {
  const node = el("div", { class: "estimate", "aria-live": "polite" });
  let timer = null;
  let asked = 0;

  const clear = () => {
    asked += 1;
    clearTimeout(timer);
    fill(node, el("p", { class: "hint" }, t("estimate.later")));
  };

  async function run(job) {
    const mine = asked;
    fill(node, el("p", { class: "hint" }, t("estimate.asking")));
    try {
      const found = await plan(job);
      if (mine !== asked) return;
      fill(node, shown(found));
      answered(found.fits !== false, null);
    } catch (error) {
      if (mine !== asked) return;
      const isWrong = error.status >= 400 && error.status < 500;
      fill(node, el("p", { class: isWrong ? "wrong" : "hint" }, isWrong ? wordsOf(error) : t("estimate.none")));
      answered(true, isWrong ? error : null);
    }
  }

  const ask = (job) => {
    clear();
    timer = setTimeout(() => run(job), PAUSE);
  };
  clear();
  return { node, ask, clear };
}

/** A plan as {rung, peak_bytes, available_bytes, seconds, frames, width, height, fits, why}, shown. */
export function shown(found) {
  const rows = [];
  const add = (name, value) => value && rows.push(el("dt", {}, t(name)), el("dd", {}, value));
  if (found.frames) add("estimate.frames", `${found.frames} × ${found.width} × ${found.height}`);
  add("estimate.time", found.seconds ? `≈ ${duration(found.seconds)}` : t("estimate.unknown"));
  if (found.peak_bytes) add("estimate.memory", `${bytes(found.peak_bytes)} / ${bytes(found.available_bytes)}`);
  if (found.rung) add("estimate.rung", has(`rung.${found.rung}`) ? t(`rung.${found.rung}`) : found.rung);
  const parts = [el("dl", {}, rows)];
  if (found.peak_bytes && found.available_bytes) {
    const share = found.peak_bytes / found.available_bytes;
    const inner = el("div");
    inner.style.width = `${Math.min(100, Math.max(2, 100 * share))}%`;
    const label = t("estimate.share", { share: percent(share) });
    const meter = el("div", { class: "meter", role: "img", "aria-label": label }, inner);
    if (found.fits === false) meter.dataset.full = "";
    parts.push(meter);
  }
  if (found.fits === false) parts.push(el("p", { class: "wrong" }, el("strong", {}, `${t("estimate.no")} `), el("span", {}, told({ ...found, text: found.why ?? "" }))));
  return parts;
}
