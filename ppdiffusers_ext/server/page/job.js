// One job: what it does now, its picture so far, its result, and what can be done with it.
import { forget, previewOf, stop } from "./api.js";
import { el, fill, say } from "./dom.js";
import { shown as shownPlan } from "./estimate.js";
import { duration, moment, percent } from "./format.js";
import { chosenText, labelOf } from "./labels.js";
import { place } from "./problems.js";
import { told } from "./refusals.js";
import { makeResult } from "./result.js";
import { has, t } from "./texts.js";
import { hasEnded } from "./watch.js";

const QUARTER = 0.25; // of the progress, after which it is said

export class JobView {
  constructor(job, root, again) {
    Object.assign(this, { root, again, spoken: 0, step: null });
    this.title = el("h2", { tabindex: -1 });
    this.state = el("span", { class: "state" });
    this.bar = el("div");
    this.progress = el("div", { class: "bar", role: "progressbar", "aria-valuemin": 0, "aria-valuemax": 100, "aria-label": t("job.progress") }, this.bar);
    this.now = el("div", { class: "now" });
    this.screen = el("div", { class: "stack" });
    this.notes = el("ul", { class: "hint", hidden: true });
    this.actions = el("div", { class: "row" });
    this.wrong = el("div");
    const card = el("section", { class: "card raised" }, el("header", {}, this.title, this.state),
      this.progress, this.now, this.wrong, this.actions, this.screen, this.notes);
    fill(root, card, this.settings(job));
    this.update(job);
  }

  update(job) {
    const changed = this.job?.state !== job.state;
    this.job = job;
    this.title.textContent = has(`system.${job.system}`) ? t(`system.${job.system}`) : job.system;
    this.state.textContent = t(`state.${job.state}`);
    this.state.dataset.state = job.state;
    this.showProgress(job);
    if (!hasEnded(job)) this.showPreview(job);
    if (changed) this.showActions(job);
    if (changed && hasEnded(job)) this.showEnd(job);
  }

  showProgress(job) {
    const ended = hasEnded(job);
    this.progress.hidden = ended;
    const share = Math.round(100 * job.progress);
    this.bar.style.width = `${share}%`;
    this.progress.setAttribute("aria-valuenow", share);
    const stage = has(`stage.${job.stage}`) ? t(`stage.${job.stage}`) : job.stage;
    this.progress.setAttribute("aria-valuetext", `${stage}, ${percent(job.progress)}`);
    if (job.state === "running" && job.progress >= this.spoken + QUARTER) {
      this.spoken = job.progress;
      say(`${stage}, ${percent(job.progress)}`);
    }
    if (ended) {
      const took = job.started && job.ended ? t("job.took", { time: duration(job.ended - job.started) }) : "";
      return fill(this.now, el("span", { class: "hint" }, [moment(job.created), took].filter(Boolean).join(" · ")));
    }
    if (job.state === "queued") {
      const ahead = job.position ? t("job.ahead", { count: job.position }) : t("job.next");
      return fill(this.now, el("strong", {}, ahead));
    }
    const left = job.seconds_left === null ? t("job.unknown") : t("job.left", { time: duration(job.seconds_left) });
    return fill(this.now, el("strong", {}, `${stage} · ${percent(job.progress)}`), el("span", {}, left));
  }

  showPreview(job) {
    if (!job.results.includes("preview") || this.step === (job.preview ?? 0)) return;
    this.step = job.preview ?? 0;
    const image = el("img", { alt: t("job.preview"), src: previewOf(job.id, `${this.step}-${Date.now()}`) });
    const figure = el("figure", { class: "screen" }, image, el("figcaption", {}, t("job.preview")));
    image.addEventListener("load", () => {
      image.classList.toggle("small", image.naturalHeight < 200);
      if (!hasEnded(this.job)) fill(this.screen, figure);
    });
  }

  showEnd(job) {
    if (job.error) fill(this.wrong, el("div", { class: "notice", role: "alert" }, el("span", {}, told(job))));
    if (job.state === "done") fill(this.screen, makeResult(job));
    else fill(this.screen);
  }

  showActions(job) {
    const again = el("button", { type: "button", on: { click: () => this.again(this.job) } }, t("job.again"));
    const halt = el("button", { type: "button", class: "danger", on: { click: () => this.halt(halt) } }, t("job.stop"));
    const hadFocus = this.actions.contains(document.activeElement);
    const remove = el("button", { type: "button", class: "quiet", on: { click: () => this.remove(remove) } }, t("job.remove"));
    fill(this.actions, hasEnded(job) ? [again, remove] : [halt, again]);
    if (hadFocus) this.title.focus();
  }

  async halt(button) {
    button.disabled = true;
    button.textContent = t("job.stopping");
    say(t("job.stopping"));
    try {
      const job = await stop(this.job.id);
      if (job?.state) this.update({ ...this.job, ...job });
    } catch (error) {
      button.disabled = false;
      button.textContent = t("job.stop");
      place(error, []);
    }
  }

  /** Asks once more before the results are gone. */
  async remove(button) {
    if (button.className !== "danger") {
      button.className = "danger";
      button.textContent = t("job.remove.sure");
      return;
    }
    try {
      await forget(this.job.id);
      location.hash = "#jobs";
    } catch (error) {
      place(error, []);
    }
  }

  note(note) {
    this.notes.hidden = false;
    this.notes.append(el("li", {}, told(note)));
  }

  settings(job) {
    const cell = (value) => (typeof value === "object" ? JSON.stringify(value) : chosenText(value));
    const rows = Object.entries(job.options).map(([name, value]) => el("tr", {}, el("th", { scope: "row" }, labelOf(name)), el("td", {}, cell(value))));
    const table = rows.length ? el("table", { class: "settings" }, el("tbody", {}, rows)) : el("p", { class: "hint" }, t("job.defaults"));
    const plan = job.plan && el("div", { class: "estimate" }, shownPlan(job.plan));
    return el("section", { class: "card" }, el("h2", {}, t("job.settings")), table, plan);
  }
}
