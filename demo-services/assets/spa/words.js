// What an answer means, in words, and the way on.

const INTERACTION = {
  step_up_required: ["Stronger sign-in is needed", "The API wants to be surer that it is you. Your call is kept; confirm who you are and it completes by itself.", "Continue"],
  consent_required: ["Your consent is needed", "The API needs your agreement before it may act for you. Your call is kept; agree and it completes by itself.", "Continue"],
  sign_in_required: ["You need to sign in again", "", "Sign in"],
};

const WAYS = {
  account_changed: "Load this page for the present account",
  page_out_of_date: "Load this page again",
};

/** `{state, text, way, go}` for an answer; `what` is the call in words. */
export function explain(answer, what) {
  if (answer.ok) {
    return { state: "done", text: `${what} succeeded.` };
  }
  const { error, detail, go } = typeof answer.body === "object" && answer.body !== null ? answer.body : {};
  const target = isLocal(go) ? go : undefined;
  if (answer.status === 401 && error in INTERACTION && target) {
    const [title, text, way] = INTERACTION[error];
    return { state: "challenge", text: `${title}. ${text || detail || ""}`.trim(), way, go: target };
  }
  return { state: "error", text: detail ?? byStatus(answer.status, what), way: WAYS[error] ?? "Go there", go: target };
}

function byStatus(status, what) {
  if (status === 0) return `${what} got no answer: this page's backend is not reachable, or the connection broke. Try again in a moment.`;
  if (status === 403) return `${what} was refused: you are signed in, but you may not do this.`;
  if (status === 404) return `${what} was not found at the API.`;
  if (status === 429 || status === 503) return `${what} cannot be served at this moment. Try again shortly.`;
  if (status === 502 || status === 504) return `${what} failed further back: one of the tiers got no usable answer. Try again in a moment.`;
  return `${what} failed with status ${status}.`;
}

/** Only paths of this origin: `//host` and `/\host` would leave it. */
function isLocal(target) {
  return typeof target === "string" && /^\/(?![/\\])[\w\-./?=&%]*$/.test(target);
}
