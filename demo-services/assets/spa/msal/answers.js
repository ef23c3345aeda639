// What answers and errors mean, in words, and the way on.

const BLOCKED = ["popup_window_error", "empty_window_error"];
const UNREACHABLE = [
  "no_network_connectivity", "post_request_failed", "get_request_failed", "network_error", "openid_config_error", "endpoints_resolution_error",
];
/** The last one: the page was loaded again while a popup was open. */
const CANCELLED = ["user_cancelled", "user_canceled", "access_denied", "no_token_request_cache_error"];

/** The browser let no popup open. */
export const isBlocked = error => BLOCKED.includes(error?.errorCode);

/** `{title, text, look, way}` for an error of MSAL.js or of `fetch`; `look` is an address to open, `way` what its link says. */
export function explainError(error, { authority, middleTier }) {
  const code = error?.errorCode ?? "";
  // The authority's own numbers, which tell more than the codes of OAuth.
  const number = /AADSTS\d+/.exec(error?.message ?? "")?.[0] ?? "";
  if (number === "AADSTS50079" || number === "AADSTS50072") {
    return { title: "You have no second factor yet.", text: "The API asks for one. Register it with your organization, or use an account that has one; then make the call again." };
  }
  if (number === "AADSTS65001" || code === "consent_required") {
    return { title: "Your consent is missing.", text: "This page may not ask the API for you yet. Sign in once more and agree, or ask an administrator to." };
  }
  if (number === "AADSTS53003") {
    return { title: "A policy of your organization forbids it.", text: "A stronger sign-in does not help. Ask an administrator." };
  }
  if (CANCELLED.includes(code)) {
    return { title: "The sign-in was cancelled.", text: "Nothing was called. Press the button again whenever you like." };
  }
  if (code === "interaction_in_progress") {
    return { title: "A sign-in is under way already.", text: "Finish it in its window, or load this page again." };
  }
  if (code === "timed_out") {
    return { title: "The sign-in did not come back in time.", text: "Its window was closed, or the authority did not answer. Press the button again." };
  }
  if (UNREACHABLE.includes(code)) {
    return { title: "The authority is not reachable from this browser.", text: "It is down, or the browser does not trust its certificate. Open it in a tab: a warning there says which.", look: authority, way: "Open the authority" };
  }
  if (error instanceof TypeError || error?.name === "TimeoutError") {
    return { title: "The API is not reachable from this browser.", text: "It is down, the browser does not trust its certificate, or it does not allow this page's origin. Open it in a tab: a warning there is about the certificate.", look: `${middleTier}/healthz`, way: "Open the API" };
  }
  return { title: "The sign-in did not succeed.", text: `${[code || error?.name, number].filter(Boolean).join(", ")}. Try it again; if it stays, the authority's log says why.` };
}

/** `{title, text}` for an answer that is neither success nor a demand. */
export function explainAnswer(status, body) {
  const told = typeof body === "object" && body !== null ? body.error : undefined;
  if (told === "consent_required") return { title: "Consent is missing.", text: "The API may not call the next one for you. Agree to it, and the same call is made again.", consent: true };
  if (status === 401) return { title: "The API takes your sign-in no more.", text: "It may have been revoked. Sign in again, and the same call is made again.", again: true };
  if (status === 403) return { title: "You may not do this.", text: "You are signed in, but your account or this page lacks the permission, and no stronger sign-in helps." };
  if (status === 404) return { title: "The API does not have it.", text: "" };
  if (status === 429 || status === 503) return { title: "It cannot be served at this moment.", text: "Try again shortly." };
  if (status === 502 || status === 504) return { title: "One of the tiers behind gave no usable answer.", text: "Try again in a moment." };
  return { title: `The API answered with status ${status}.`, text: "" };
}
