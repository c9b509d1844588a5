// A panel on which a job is put together: files, person, settings, estimate, run.
import { submit } from "./api.js";
import { el, fill, say } from "./dom.js";
import { keepDraft, readDraft } from "./draft.js";
import { makeDrop } from "./drop.js";
import { makeEstimate } from "./estimate.js";
import { makeFieldset } from "./fieldset.js";
import { makeModel } from "./model.js";
import { makePerson } from "./person.js";
import { fieldOf, place, tell, wordsOf } from "./problems.js";
import { segments } from "./radios.js";
import { takeSample } from "./sample.js";
import { modelOf, modeOf, systemOf } from "./systems.js";
import { TASKS } from "./tasks.js";
import { has, t } from "./texts.js";

const step = (title, ...children) =>
  el("section", { class: "card" }, el("header", {}, el("h2", { class: "numbered" }, title)), children);

/** Draws the panel of a task into an element. */
export class Composer {
  constructor(name, answer, root) {
    Object.assign(this, { name, answer, root, task: TASKS[name], draft: readDraft(name) });
  }

  get systems() {
    return this.task.systems.filter((name) => systemOf(this.answer, name)?.modes?.length);
  }

  get variant() {
    return this.task.variants.find((variant) => variant.name === this.draft.variant) ?? this.task.variants[0];
  }

  draw() {
    const { draft } = this;
    if (!this.systems.length) return fill(this.root, this.head(), el("p", { class: "notice" }, t("system.none")));
    if (!this.systems.includes(draft.system)) draft.system = this.systems[0];
    this.system = systemOf(this.answer, draft.system);
    this.model = modelOf(this.system, draft.model);
    this.mode = modeOf(this.system, this.variant);
    this.estimate = makeEstimate((fits, error) => this.judge(fits, error));
    this.run = el("button", { type: "button", class: "primary big", on: { click: () => this.submit() } }, t("run"));
    this.why = el("p", { class: "hint", id: "why" });
    this.run.setAttribute("aria-describedby", "why");
    this.person = el("div");
    const steps = el("div", { class: "stack" }, this.filesStep(), this.person, this.settingsStep());
    fill(this.root, this.head(), el("div", { class: "columns" }, steps, this.side()));
    this.drawPerson();
    return this.changed();
  }

  head() {
    const sample = this.task.sample && el("button", { type: "button", on: { click: () => this.sample() } }, t("sample"));
    const words = el("div", {}, el("h1", {}, t(`${this.name}.title`)), el("p", { class: "lead" }, t(`${this.name}.lead`)));
    return el("header", { class: "head" }, words, sample);
  }

  filesStep() {
    const { draft, variant } = this;
    const items = this.task.variants.map(({ name }) => ({ value: name, label: t(`variant.${name}`) }));
    const choose = (name) => {
      draft.variant = name;
      this.draw();
      this.root.querySelector(`.segments input[value="${name}"]`)?.focus();
    };
    this.drops = variant.files.map((file) =>
      makeDrop(file, draft.files[file.role], (upload) => {
        if (upload) draft.files[file.role] = upload;
        else delete draft.files[file.role];
        if (file.role === "driving_video") delete draft.options.person;
        this.drawPerson();
        this.changed();
      }));
    const places = el("div", { class: "drops" }, this.drops.map((drop) => drop.node));
    const hint = has(`variant.${variant.name}.hint`) && el("p", { class: "hint" }, t(`variant.${variant.name}.hint`));
    const title = t(variant.files.length ? "step.files" : "variant.label");
    this.files = step(title, segments(t("variant.label"), items, variant.name, choose), hint, places);
    return this.files;
  }

  drawPerson() {
    const wanted = this.variant.chooses && this.draft.files[this.variant.chooses];
    this.person.hidden = !wanted;
    this.align = null;
    if (!wanted) return fill(this.person);
    const person = makePerson(this.draft, () => this.changed());
    this.align = person.align;
    return fill(this.person, step(t("step.person"), person.node));
  }

  settingsStep() {
    const hidden = new Set(["model", "person", ...Object.keys(this.task.options)]);
    const change = (name, value) => {
      if (value === undefined) delete this.draft.options[name];
      else this.draft.options[name] = value;
      this.changed();
    };
    const defaults = this.model?.defaults ?? {};
    const made = makeFieldset(this.mode, this.system.loras, defaults, this.draft.options, hidden, change);
    this.fields = made.fields;
    this.files.append(...[made.words].filter(Boolean));
    return step(t("step.settings"), made.presets, made.front, made.more);
  }

  side() {
    const choose = (change) => {
      Object.assign(this.draft, change);
      this.draw();
    };
    const names = this.systems;
    const model = makeModel(names, this.draft.system, this.system, this.model, choose);
    return el("aside", { class: "side card raised", "aria-label": t("side") }, model, this.estimate.node, this.run, this.why);
  }

  /** The job as it would be sent. */
  job() {
    const roles = this.variant.files.map((file) => file.role).filter((role) => this.draft.files[role]);
    const known = new Set(this.mode.fields.map((field) => field.name));
    const given = Object.entries(this.draft.options).filter(([name]) => known.has(name));
    const options = { ...Object.fromEntries(given), ...this.task.options };
    if (this.draft.model && this.model) options.model = this.model.name;
    return { system: this.draft.system, options, files: Object.fromEntries(roles.map((role) => [role, this.draft.files[role].id])) };
  }

  /** What is still needed, in words; empty where nothing is. */
  missing() {
    if (!this.model?.ready) return t("run.weights");
    const file = this.variant.files.find(({ role, optional }) => !optional && !this.draft.files[role]);
    if (file) return t("run.file", { file: t(`role.${file.role}`) });
    if (this.fields.some((field) => field.isWrong?.())) return t("run.wrong");
    if (this.variant.name === "text" && !this.draft.options.prompt?.trim()) return t("run.prompt");
    return "";
  }

  changed() {
    keepDraft(this.name, this.draft);
    const missing = this.missing();
    this.why.textContent = missing;
    this.run.disabled = Boolean(missing);
    if (missing) this.estimate.clear();
    else this.estimate.ask(this.job());
    if (missing) this.align?.(null);
  }

  judge(fits, error) {
    const missing = this.missing();
    this.run.disabled = Boolean(missing) || !fits;
    this.why.textContent = missing || (fits ? "" : t("run.memory"));
    this.align?.(missing || !fits || error ? null : this.job()); // what cannot run is not looked at
    if (error) fieldOf(error, this.fields)?.refuse(wordsOf(error), false);
  }

  async submit() {
    tell("");
    this.run.disabled = true;
    try {
      const job = await submit(this.job());
      say(t("job.sent"));
      location.hash = `#jobs/${job.id}`;
    } catch (error) {
      this.run.disabled = false;
      place(error, [...this.fields, ...this.drops]);
    }
  }

  async sample() {
    this.draft.variant = this.task.sample;
    this.draw();
    try {
      await takeSample(this.drops);
    } catch (error) {
      tell(wordsOf(error));
    }
  }
}
