// What was entered on a panel, kept while the browser's tab is open, so that reloading loses nothing.

const KEY = "studio.draft.";

const fresh = () => ({ system: null, variant: null, model: null, options: {}, files: {} });

/** The draft of a task: {system, variant, options, files (role -> upload)}. */
export function readDraft(task) {
  try {
    return { ...fresh(), ...JSON.parse(sessionStorage.getItem(KEY + task)) };
  } catch {
    return fresh();
  }
}

export function keepDraft(task, draft) {
  sessionStorage.setItem(KEY + task, JSON.stringify(draft));
}
