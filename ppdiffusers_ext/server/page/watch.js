// The events of a job as they come; where the stream breaks, the job is asked for instead.
import { eventsOf, getJob } from "./api.js";

const ENDED = new Set(["done", "failed", "cancelled"]);
const KINDS = ["state", "progress", "preview", "note", "plan"];
const PAUSE = 3000; // ms between questions where there is no stream

export const hasEnded = (job) => ENDED.has(job.state);

/**
 * Follow a job until it ends. `changed` is called with the job whenever something becomes of it; `noted` with notes: {text, code, values}.
 * Returns a function that stops following.
 */
export function watch(job, changed, noted) {
  let current = { ...job };
  let over = false;
  let timer = null;
  const stream = new EventSource(eventsOf(job.id));

  const stop = () => {
    over = true;
    clearTimeout(timer);
    stream.close();
  };

  async function ask() {
    if (over) return;
    try {
      const found = await getJob(job.id);
      if (over) return;
      current = { ...current, ...found };
      changed(current);
      if (hasEnded(current)) stop();
    } catch {
      // the server is away for a while: the stream or the next question finds it again
    }
  }

  const take = (kind) => (event) => {
    if (over) return;
    const data = JSON.parse(event.data);
    if (kind === "progress") current = { ...current, ...data };
    else if (kind === "preview") current = { ...current, preview: data.step, results: [...new Set([...current.results, "preview"])] };
    else if (kind === "plan") current = { ...current, plan: data };
    else if (kind === "note") return void noted(data);
    else return void ask(); // a new state: with it comes what only the job tells
    changed(current);
  };

  for (const kind of KINDS) stream.addEventListener(kind, take(kind));
  const again = () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      await ask();
      if (!over && stream.readyState !== EventSource.OPEN) again();
    }, PAUSE);
  };
  stream.addEventListener("error", again);
  return stop;
}
