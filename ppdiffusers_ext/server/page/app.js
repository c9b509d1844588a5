// The page: which panel the address names, the language, and what all panels need.
import { getHealth, getSystems } from "./api.js";
import { Composer } from "./compose.js";
import { el, fill } from "./dom.js";
import { keepDraft } from "./draft.js";
import { describe } from "./drop.js";
import { Jobs } from "./jobs.js";
import { tell, wordsOf } from "./problems.js";
import { TASKS, taskOf, variantOf } from "./tasks.js";
import { choose, language, load, preferred, t, translate } from "./texts.js";
import { startTheme } from "./theme.js";

const HEALTH = 5000; // ms
const panel = document.getElementById("panel");
const switcher = document.getElementById("language");
let systems = null;

/** Fill the panel of a task with a job's settings and files, and go there. */
async function again(job) {
  const name = taskOf(job);
  const files = {};
  for (const [role, id] of Object.entries(job.files)) files[role] = await describe(id);
  const { model = null, ...options } = job.options;
  keepDraft(name, { system: job.system, variant: variantOf(name, job.files), model, options, files });
  location.hash = `#${name}`;
}

const jobs = new Jobs(panel, again);

function showTabs(name) {
  for (const link of document.querySelectorAll(".tabs a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    if (link.hash === `#${name}`) link.scrollIntoView({ block: "nearest", inline: "nearest" });
  }
  document.title = `${t(`tab.${name}`)} · Studio`;
}

async function showPanel() {
  const [name, id] = location.hash.slice(1).split("/");
  tell("");
  jobs.leave();
  if (name === "jobs") {
    showTabs("jobs");
    await jobs.show(id ? decodeURIComponent(id) : null);
    return;
  }
  const task = name in TASKS ? name : "animate";
  showTabs(task);
  if (!systems) fill(panel, el("p", { class: "lead" }, t("loading")));
  try {
    systems ??= await getSystems();
    new Composer(task, systems, panel).draw();
  } catch (error) {
    fill(panel, el("h1", {}, t(`${task}.title`)));
    tell(wordsOf(error));
  }
}

function showFrame() {
  translate(document);
  const other = language() === "en" ? "zh" : "en";
  switcher.lang = other;
  switcher.textContent = other === "zh" ? "中文" : "English";
  switcher.onclick = async () => {
    await choose(other);
    showFrame();
    await showPanel();
  };
}

async function showHealth() {
  const place = document.getElementById("health");
  const count = document.getElementById("count");
  try {
    const { worker, queued = 0, running = 0 } = await getHealth();
    place.dataset.ok = "true";
    place.textContent = t(`health.${worker ?? "ready"}`);
    count.hidden = !(queued + running);
    count.textContent = queued + running;
    count.title = t("health.count", { queued, running });
  } catch {
    place.dataset.ok = "false";
    place.textContent = t("health.away");
  }
  setTimeout(showHealth, document.hidden ? HEALTH * 6 : HEALTH);
}

document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the panel
  document.getElementById("main").focus();
});
startTheme(document.getElementById("theme"));
await load(preferred());
showFrame();
window.addEventListener("hashchange", async () => {
  await showPanel();
  window.scrollTo(0, 0);
});
await showPanel();
showHealth();
