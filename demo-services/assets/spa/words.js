// What an answer means, in words, and the way on.

const INTERACTION = {
  step_up_required: ["Stronger sign-in is needed", "The API wants to be surer that it is you. Your call is kept; confirm who you are, if you are asked, and it completes by itself.", "Continue"],
  consent_required: ["Your consent is needed", "The API needs your agreement before it may act for you. Your call is kept; agree and it completes by itself.", "Continue"],
  revoked: ["A new sign-in is needed", "What was issued to you before is refused, although it has not ended. Your call is kept; sign in again and it completes by itself.", "Sign in again"],
  sign_in_required: ["You need to sign in again", "", "Sign in"],
};

const WAYS = {
  account_changed: "Load this page for the present account",
  page_out_of_date: "Load this page again",
};

/** The fault passes, or may have. */
const PASSING = [0, 408, 429, 502, 503, 504];

/** Where the middle tier answers as the samples do. */
const SAMPLES = "/api/samples/";
const DEAD_END = "A dead end: 403 and an error code in the body, but no challenge in a header, so nobody on the way back can tell what is missing and this page cannot ask you for it.";

/**
 * `{state, title, text, way, go, onward, again}` for an answer; `what` is the call in words, `repeated` whether it waited for a
 * sign-in, `revoked` whether the person has just been revoked, `path` which call it was. `again`: the same call may be made anew, by the person. A second demand of the same call (a policy and the API itself) is `onward`: the person was told and asked before.
 */
export function explain(answer, what, repeated = false, { revoked = false, path = "" } = {}) {
  if (answer.ok) {
    return { state: "done", title: `${what} succeeded.`, text: repeated ? "It completed by itself after your sign-in." : "" };
  }
  const { error, detail, go } = typeof answer.body === "object" && answer.body !== null ? answer.body : {};
  const target = isLocal(go) ? go : undefined;
  if (answer.status === 401 && error in INTERACTION && target) {
    const [title, text, way] = INTERACTION[revoked ? "revoked" : error];
    if (repeated) {
      return { state: "challenge", title: `${title}, once more.`, text: "Another tier has a demand of its own. Your call is still kept; on the way there …", way, go: target, onward: true };
    }
    return { state: "challenge", title: `${title}.`, text: text || detail || "", way, go: target };
  }
  if (answer.status === 403 && path.startsWith(SAMPLES)) {
    return { state: "error", title: `${what} did not succeed.`, text: DEAD_END };
  }
  const again = PASSING.includes(answer.status) && !target;
  const text = [detail ?? byStatus(answer.status), again && repeated && "It is not run again by itself; trying again is a new call."];
  return { state: "error", title: `${what} did not succeed.`, text: text.filter(Boolean).join(" "), way: WAYS[error] ?? "Go on", go: target, again };
}

function byStatus(status) {
  if (status === 0) return "There was no answer: this page's backend is not reachable, or the connection broke. Try again in a moment.";
  if (status === 403) return "You are signed in, but you may not do this.";
  if (status === 404) return "The API does not have it.";
  if (status === 429 || status === 503) return "It cannot be served at this moment. Try again shortly.";
  if (status === 502 || status === 504) return "One of the tiers behind got no usable answer. Try again in a moment.";
  return `The API answered with status ${status}.`;
}

/** Only paths of this origin: `//host` and `/\host` would leave it. */
function isLocal(target) {
  return typeof target === "string" && /^\/(?![/\\])[\w\-./?=&%]*$/.test(target);
}
