// A public client in the browser: signs in with MSAL.js, calls the middle tier itself, and answers its challenges.
/* global msal */

import { reloadOutOfHistory } from "/assets/shown.js";
import { explainAnswer, explainError, isBlocked } from "./answers.js";
import { demand, isRevocation } from "./challenge.js";
import { clear, drawAccounts, hold, offer, parts, say, showChallenge, showFacts, showResult, tell } from "./screen.js";
import { ROUNDS, forget, keep, take } from "./waiting.js";

const { clientId, authority, scope, middleTier } = parts.client.dataset;
const CALLS = { api: ["Call API", "/api"], secure: ["Secure", "/secure"] };
const POPUP = "tower-bearer.popup";
const PAGE = `${location.origin}/msal`;
/** Where silent requests and popups come back to: a page that only hands the answer over. */
const BRIDGE = `${location.origin}/msal/redirect`;
const DEADLINE = 60_000;

const client = globalThis.msal && new msal.PublicClientApplication({
  auth: {
    clientId,
    authority,
    // No directory of the vendor's clouds is asked whether this is one of them.
    knownAuthorities: [new URL(authority).host],
    redirectUri: PAGE,
    postLogoutRedirectUri: PAGE,
    // This client answers challenges, so the authority may let its tokens be revoked at once.
    clientCapabilities: ["CP1"],
  },
  cache: { cacheLocation: "sessionStorage" },
});

let busy = false;

start();

async function start() {
  if (!client) return tell({ title: "MSAL.js did not load.", text: "The service has no file for it; its log says more." });
  parts.popup.checked = sessionStorage.getItem(POPUP) === "yes";
  parts.popup.addEventListener("change", () => sessionStorage.setItem(POPUP, parts.popup.checked ? "yes" : "no"));
  parts["sign-in"].addEventListener("click", () => once(() => signIn()));
  parts.another.addEventListener("click", () => once(() => signIn("select_account")));
  parts["sign-out"].addEventListener("click", () => once(signOut));
  parts.account.addEventListener("change", () => choose(client.getAccount({ homeAccountId: parts.account.value })));
  for (const button of document.querySelectorAll("[data-call]")) {
    button.addEventListener("click", () => once(() => call(button.dataset.call)));
  }
  reloadOutOfHistory();

  await once(async () => {
    await client.initialize();
    try {
      const answer = await client.handleRedirectPromise();
      if (answer) return await arrived(answer.account);
    } catch (error) {
      forget();
      draw();
      throw error;
    }
    draw();
    const dropped = forget();
    say("idle", dropped ? "You came back without signing in; nothing was called." : "Nothing has been called yet.");
  });
}

/** One thing at a time, and its errors in words. */
async function once(act) {
  if (busy) return;
  busy = true;
  hold(true);
  clear();
  try {
    await act();
  } catch (error) {
    tell(explainError(error, { authority: `${authority}/v2.0/.well-known/openid-configuration`, middleTier }));
  } finally {
    busy = false;
    hold(false);
  }
}

const signIn = prompt => {
  forget();
  return interact({ scopes: [scope], prompt });
};

async function signOut() {
  forget();
  say("calling", "Signing out …");
  await client.logoutRedirect({ account: current() });
}

/** In a popup if that is wished and possible, else in this window, which is left. */
async function interact(request) {
  const popup = parts.popup.checked;
  // That a popup was closed the library notices by its deadline only.
  say("calling", "To the authority …", popup ? "Sign in in the window that opened. If you closed it, load this page again." : "");
  if (popup) {
    try {
      const { account } = await client.acquireTokenPopup({ ...request, redirectUri: BRIDGE });
      return await arrived(account);
    } catch (error) {
      if (!isBlocked(error)) {
        forget();
        throw error;
      }
      say("calling", "The browser blocked the popup window.", "Going on in this one …");
    }
  }
  await client.acquireTokenRedirect({ ...request, redirectUri: PAGE });
}

/** Back from the authority, signed in: what waited for this person is called now, and for nobody else. */
async function arrived(account) {
  choose(account);
  const waiting = take(account.homeAccountId);
  if (waiting?.call in CALLS) return call(waiting.call, waiting.round, waiting);
  if (forget()) {
    return tell({ title: "Somebody else signed in.", text: `You are ${account.username} now. What the other account waited for was dropped without being sent.` });
  }
  say("done", "Signed in.", "Nothing has been called yet.");
}

/** `round`: how often this call was answered by a sign-in already; `last` is what it was then asked for. */
async function call(name, round = 0, last = null) {
  const [what, path] = CALLS[name];
  const account = current();
  if (!account) return tell({ title: "Nobody is chosen.", text: "Choose an account, or sign in." });
  clear();
  if (last) showChallenge(last.header, last.claims, true);
  say("calling", `Calling ${what} …`, last ? "It goes on by itself after your sign-in." : "");
  const started = performance.now();
  let token;
  try {
    ({ accessToken: token } = await client.acquireTokenSilent({ scopes: [scope], account, redirectUri: BRIDGE }));
  } catch (error) {
    if (!(error instanceof msal.InteractionRequiredAuthError)) throw error;
    return ask({ call: name, round, header: null, claims: error.claims || null }, "The authority wants to see you again.", last);
  }
  const response = await fetch(middleTier + path, {
    headers: { Accept: "application/json", Authorization: `Bearer ${token}` },
    cache: "no-store",
    credentials: "omit",
    redirect: "error",
    signal: AbortSignal.timeout(DEADLINE),
  });
  const body = parsed(await response.text());
  const elapsed = Math.round(performance.now() - started);
  showFacts({ status: response.status, elapsed, correlationId: response.headers.get("x-correlation-id") });
  if (response.ok) {
    say("done", `${what} succeeded.`, last ? "It completed by itself after your sign-in." : "");
    return showResult(body);
  }
  const header = response.headers.get("www-authenticate");
  const asked = response.status === 401 ? demand(header) : null;
  if (asked?.claims) return ask({ call: name, round, header, claims: asked.claims }, "Stronger sign-in is needed.", last);
  const meaning = explainAnswer(response.status, body);
  tell({ ...meaning, title: `${what} did not succeed. ${meaning.title}` });
  if (header) showChallenge(header, null);
  // Of the challenge nothing is taken here: what to agree to is this page's own configuration.
  const resource = scope.slice(0, scope.lastIndexOf("/"));
  if (meaning.consent && round < ROUNDS) offer("Agree", () => once(() => go({ call: name, round, header, claims: null }, { scopes: [`${resource}/.default`], prompt: "consent" })));
  if (meaning.again && round < ROUNDS) offer("Sign in again", () => once(() => go({ call: name, round, header, claims: null }, { prompt: "login" })));
}

/** A demand that a sign-in answers. The person is asked once; the next demand of the same call goes on by itself. */
async function ask(waiting, title, last) {
  showChallenge(waiting.header, waiting.claims);
  if (waiting.round >= ROUNDS) {
    return tell({ title: "The API asks again and again.", text: "Your sign-in does not satisfy it, so this page stopped. Use another account, or ask whoever runs the API." });
  }
  // A popup opens only for a click, and a revocation that counts for no round goes nowhere without one.
  const onward = waiting.round > 0 || (last && !isRevocation(waiting.claims));
  if (onward && !parts.popup.checked) return go(waiting);
  say("challenge", title, "Your call is kept; confirm who you are and it completes by itself.");
  offer("Continue", () => once(() => go(waiting)));
}

async function go({ call, round, header, claims }, request = {}) {
  const account = current();
  // Who was revoked signs in as at first: that is no answer yet to what the call may demand.
  const anew = round === 0 && (request.prompt === "login" || isRevocation(claims));
  keep(account.homeAccountId, { call, round: anew ? 0 : round + 1, header, claims });
  await interact({ scopes: [scope], account, ...(claims ? { claims } : {}), ...request });
}

/** The account that calls are made for: the chosen one, or the only one. */
function current() {
  const accounts = client.getAllAccounts();
  return client.getActiveAccount() ?? (accounts.length === 1 ? accounts[0] : null);
}

function choose(account) {
  client.setActiveAccount(account);
  draw();
}

const draw = () => drawAccounts(client.getAllAccounts(), current());

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
