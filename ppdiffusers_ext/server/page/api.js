// What the page asks of the server. Refusals come as `Refusal`, with the server's words, their code and its values.

export class Refusal extends Error {
  constructor(message, status, code, values = {}) {
    super(message);
    Object.assign(this, { status, code, values }); // status 0: no answer
  }
}

function refusal(text, status) {
  try {
    const { error, code, values } = JSON.parse(text);
    if (typeof error === "string") return new Refusal(error, status, code, values);
  } catch {
    // not from the server itself: something between, or no answer
  }
  return new Refusal("", status);
}

/** The answer to a request as JSON. `body` is sent as JSON. Raises Refusal. */
export async function ask(method, path, body) {
  const settings = { method, headers: { Accept: "application/json" } };
  if (body !== undefined) {
    settings.headers["Content-Type"] = "application/json";
    settings.body = JSON.stringify(body);
  }
  let answer, text;
  try {
    answer = await fetch(path, settings);
    text = await answer.text();
  } catch {
    throw new Refusal("", 0);
  }
  if (!answer.ok) throw refusal(text, answer.status);
  return text ? JSON.parse(text) : null;
}

/** Send a file; `tell` is called with the share that is sent. Raises Refusal. */
export function upload(file, tell) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not tell how much is sent
    const form = new FormData();
    form.append("file", file);
    request.open("POST", "uploads");
    request.upload.addEventListener("progress", (event) => event.total && tell(event.loaded / event.total));
    request.addEventListener("error", () => reject(new Refusal("", 0)));
    request.addEventListener("load", () => {
      if (request.status >= 300) return reject(refusal(request.responseText, request.status));
      return resolve(JSON.parse(request.responseText));
    });
    request.send(form);
  });
}

export const getSystems = () => ask("GET", "systems");
export const getHealth = () => ask("GET", "health");
export const getJobs = async () => (await ask("GET", "jobs?limit=50")).jobs;
export const getJob = (id) => ask("GET", `jobs/${encodeURIComponent(id)}`);
export const getUpload = (id) => ask("GET", `uploads/${encodeURIComponent(id)}`);
export const submit = (job) => ask("POST", "jobs", job);
export const plan = (job) => ask("POST", "plan", job);
export const forget = (id) => ask("DELETE", `jobs/${encodeURIComponent(id)}?forget=true`);
export const stop = (id) => ask("DELETE", `jobs/${encodeURIComponent(id)}`);
export const findPeople = (upload, frame, person) => ask("POST", "previews/poses", { upload, frame, person });
export const showAlignment = (job, frame) => ask("POST", "previews/alignment", { ...job, frame });
export const getReport = (id) => ask("GET", `jobs/${encodeURIComponent(id)}/report`);
export const eventsOf = (id) => `jobs/${encodeURIComponent(id)}/events`;
export const previewOf = (id, step) => `jobs/${encodeURIComponent(id)}/preview?step=${encodeURIComponent(step)}`;

/** Where a file of a job is. */
export function resultOf(id, name = "result") {
  return `jobs/${encodeURIComponent(id)}/result?name=${encodeURIComponent(name)}`;
}
