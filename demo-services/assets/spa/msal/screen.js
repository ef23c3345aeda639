// What is seen: texts only, nothing of it as markup.

import { facts, table } from "/assets/shown.js";

const byId = id => document.getElementById(id);

export const parts = Object.fromEntries(
  ["account", "another", "calls", "challenge", "choice", "client", "continue", "facts", "look", "popup", "progress", "result", "sign-in", "sign-out", "status", "user"]
    .map(id => [id, byId(id)]),
);

/** Takes the last outcome away. */
export function clear() {
  for (const id of ["challenge", "continue", "facts", "look", "result"]) parts[id].hidden = true;
  parts.continue.onclick = null;
}

export function say(state, title, text = "") {
  const strong = document.createElement("strong");
  strong.textContent = title;
  parts.status.dataset.state = state;
  parts.status.replaceChildren(strong, " ", text);
}

/** An error in words, with an address to look at if that helps. */
export function tell({ title, text, look, way }) {
  say("error", title, text);
  if (look) {
    parts.look.href = look;
    parts.look.textContent = way;
    parts.look.hidden = false;
  }
}

/** A button that leads on, focused for the keyboard. */
export function offer(label, act) {
  parts.continue.textContent = label;
  parts.continue.onclick = act;
  parts.continue.hidden = false;
  parts.continue.focus();
}

export function showChallenge(header, claims, answered = false) {
  byId("challenge-title").textContent = answered ? "The challenge that your sign-in answered" : "The challenge";
  byId("challenge-header").textContent = header ?? "None: the authority asked, before the API was called.";
  byId("challenge-claims").textContent = claims ? JSON.stringify(JSON.parse(claims), null, 2) : "None.";
  parts.challenge.hidden = false;
}

export function showResult(body) {
  parts.result.replaceChildren(table(body));
  parts.result.hidden = false;
}

export function showFacts(answer) {
  parts.facts.textContent = facts(answer);
  parts.facts.hidden = false;
}

/** Who is signed in, and who could be chosen. */
export function drawAccounts(accounts, chosen) {
  const [name, username] = parts.user.children;
  name.textContent = chosen?.name ?? "";
  username.textContent = chosen?.username ?? "";
  parts.user.hidden = parts["sign-out"].hidden = parts.calls.hidden = !chosen;
  parts.choice.hidden = accounts.length < 2;
  parts["sign-in"].hidden = accounts.length > 0;
  parts["sign-in"].disabled = false;
  parts.another.hidden = accounts.length === 0;
  const options = accounts.map(({ homeAccountId, username }) => new Option(username, homeAccountId, false, homeAccountId === chosen?.homeAccountId));
  parts.account.replaceChildren(...(chosen ? [] : [new Option("Choose one", "", true, true)]), ...options);
}

/** One thing at a time. `disabled` would take the keyboard's focus away. */
export function hold(held) {
  parts.progress.hidden = !held;
  for (const button of document.querySelectorAll("button")) button.setAttribute("aria-disabled", held);
}
