// The page's script: calls, shows, and runs the operation that waited for a stronger sign-in.

import { send } from "./backend.js";
import { explain } from "./words.js";

const byId = id => document.getElementById(id);
const [status, progress, onward, again, result, facts] = ["status", "progress", "continue", "again", "result", "facts"].map(byId);
const calls = [...document.querySelectorAll("[data-call]")];
const outcome = document.querySelector(".outcome");
const FIRST = ["name", "issued-by", "issued-for", "scope"];

let busy = false;

for (const button of calls) {
  button.addEventListener("click", () => busy || run(button.dataset.call));
}

byId("sign-out")?.addEventListener("click", async event => {
  event.target.disabled = true;
  const answer = await send("/auth/sign-out", "POST");
  location.assign(answer.ok ? answer.body.go : "/");
});

// A page out of the browser's history may have been drawn for somebody else.
addEventListener("pageshow", event => event.persisted && location.reload());

if (outcome?.dataset.operation) {
  const { operation, path } = outcome.dataset;
  // A reload of this page must not look like a second wish.
  history.replaceState(null, "", "/");
  run(path, operation);
}

/** Calls a path of the API, or runs the kept `operation` that was such a call. */
async function run(path, operation) {
  const button = calls.find(button => button.dataset.call === path);
  const what = button?.textContent.trim() ?? "Your operation";
  say("calling", operation ? "Welcome back." : `Calling ${what} …`, operation ? `${what} goes on by itself …` : "");
  hold(true);
  for (const part of [onward, again, result, facts]) part.hidden = true;
  outcome.scrollIntoView({ block: "nearest" });
  const slow = setTimeout(() => { progress.hidden = false; }, 300);
  const answer = operation ? await send(`/api/ops/${operation}`, "POST") : await send(path);
  clearTimeout(slow);
  progress.hidden = true;
  hold(false);
  const meaning = explain(answer, what, Boolean(operation));
  show(answer, meaning);
  if (meaning.again && button) {
    // A kept operation is run once; this is the same call anew.
    again.onclick = () => busy || run(path);
    again.hidden = false;
    again.focus();
  }
  if (meaning.onward) location.assign(meaning.go);
}

function show(answer, { state, title, text, way, go }) {
  say(state, title, text);
  if (go) {
    onward.href = go;
    onward.textContent = way;
    onward.hidden = false;
    onward.focus();
  }
  if (answer.ok) {
    result.replaceChildren(table(answer.body));
    result.hidden = false;
  }
  const lines = [answer.status && `Status ${answer.status}`, `${answer.elapsed} ms`, answer.correlationId && `correlation id ${answer.correlationId}`];
  facts.textContent = lines.filter(Boolean).join(" · ");
  facts.hidden = false;
}

/** One call at a time. `disabled` would take the keyboard's focus away. */
function hold(held) {
  busy = held;
  for (const button of calls) button.setAttribute("aria-disabled", held);
}

function say(state, title, text) {
  const strong = document.createElement("strong");
  strong.textContent = title;
  status.dataset.state = state;
  status.replaceChildren(strong, " ", text);
}

/** A definition table for an object, its text for everything else. */
function table(body) {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    const text = document.createElement("pre");
    text.textContent = typeof body === "string" ? body : JSON.stringify(body, null, 2);
    return text;
  }
  const list = document.createElement("dl");
  const names = [...FIRST.filter(name => name in body), ...Object.keys(body).filter(name => !FIRST.includes(name))];
  for (const name of names) {
    const [term, value] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    value.textContent = typeof body[name] === "string" ? body[name] : JSON.stringify(body[name]);
    value.dataset.name = name;
    list.append(term, value);
  }
  return list;
}
