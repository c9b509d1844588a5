// The tab of jobs: their list, and the one that the address names.
import { getJob, getJobs, previewOf } from "./api.js";
import { el, fill, say } from "./dom.js";
import { moment, percent } from "./format.js";
import { JobView } from "./job.js";
import { tell, wordsOf } from "./problems.js";
import { has, t } from "./texts.js";
import { hasEnded, watch } from "./watch.js";

const EVERY = 4000; // ms

/** What a job is, in a few words. */
export function titleOf(job) {
  if (job.options.prompt) return job.options.prompt;
  return has(`system.${job.system}`) ? t(`system.${job.system}`) : job.system;
}

function entry(job, chosen) {
  const state = el("span", { class: "state", data: { state: job.state } }, t(`state.${job.state}`));
  const bar = el("div");
  bar.style.width = percent(job.progress).replaceAll(/[^\d.%]/g, "");
  const running = job.state === "running" && el("div", { class: "bar", "aria-hidden": true }, bar);
  const settings = { href: `#jobs/${job.id}`, "aria-current": job.id === chosen ? "true" : null };
  const there = job.results.includes("preview");
  const image = there ? el("img", { src: previewOf(job.id, job.state), alt: "", loading: "lazy" }) : el("span", { class: "blank" });
  const head = el("span", { class: "row" }, el("strong", {}, titleOf(job)), state);
  return el("li", {}, el("a", settings, image, el("span", { class: "words" }, head, el("span", { class: "hint" }, moment(job.created)), running)));
}

export class Jobs {
  /** `again` is called with a job whose settings are to be used again. */
  constructor(root, again) {
    Object.assign(this, { root, again, list: el("ul", { class: "list" }), view: null, stop: () => {}, timer: null });
  }

  /** Show the jobs, and the one with an id, if there is one. */
  async show(id) {
    this.leave();
    this.id = id;
    const place = el("div", { class: "stack" });
    const head = el("header", { class: "head" }, el("div", {}, el("h1", {}, t("jobs.title")), el("p", { class: "lead" }, t("jobs.lead"))));
    fill(this.root, head, el("div", { class: "jobs", data: id ? { open: "" } : {} }, el("nav", { "aria-label": t("jobs.list") }, this.list), place));
    const jobs = await this.refresh();
    if (this.id !== id || !this.root.contains(place)) return;
    if (id) await this.open(id, place);
    else if (jobs?.length) fill(place, el("div", { class: "empty" }, el("p", { class: "lead" }, t("jobs.choose"))));
    else {
      const begin = el("a", { class: "button primary", href: "#animate" }, t("jobs.begin"));
      fill(place, el("div", { class: "empty" }, el("h2", {}, t("jobs.none")), el("p", { class: "hint" }, t("jobs.none.hint")), begin));
    }
  }

  async open(id, place) {
    try {
      const job = await getJob(id);
      if (this.id !== id) return;
      this.view = new JobView(job, place, this.again);
      let { state } = job;
      const changed = (now) => {
        this.view.update(now);
        if (now.state === state) return;
        state = now.state;
        say(t(`said.${state}`));
        this.refresh();
      };
      if (!hasEnded(job)) this.stop = watch(job, changed, (note) => this.view.note(note));
    } catch (error) {
      tell(wordsOf(error));
    }
  }

  async refresh() {
    clearTimeout(this.timer);
    const mine = (this.asked = (this.asked ?? 0) + 1);
    try {
      const jobs = await getJobs();
      if (mine !== this.asked) return jobs;
      fill(this.list, jobs.map((job) => entry(job, this.id)));
      if (jobs.some((job) => !hasEnded(job))) this.timer = setTimeout(() => this.refresh(), EVERY);
      return jobs;
    } catch (error) {
      tell(wordsOf(error));
      return null;
    }
  }

  leave() {
    this.asked = (this.asked ?? 0) + 1;
    this.stop();
    clearTimeout(this.timer);
    this.stop = () => {};
    this.id = null;
  }
}
