// The page's script: calls, shows, and runs the operation that waited for a stronger sign-in.

import { send } from "./backend.js";
import { Switches } from "./controls.js";
import { Picture } from "./picture/picture.js";
import { facts as factsOf, reloadOutOfHistory, table } from "./shown.js";
import "./sign-out.js";
import { explain } from "./words.js";

const byId = id => document.getElementById(id);
const [status, progress, onward, again, result, facts] = ["status", "progress", "continue", "again", "result", "facts"].map(byId);
const buttons = [...document.querySelectorAll(".actions .button")];
const outcome = document.querySelector(".outcome");
const picture = byId("picture") && new Picture(byId("picture"));
const switches = new Switches((title, answer) => show(answer, explain(answer, title)));

let busy = false;

for (const button of buttons.filter(button => button.dataset.call)) {
  button.addEventListener("click", () => busy || run(switches.path(button.dataset.call)));
}
byId("revoke")?.addEventListener("click", () => busy || revoke());

reloadOutOfHistory();

if (outcome?.dataset.operation) {
  const { operation, path, flow } = outcome.dataset;
  // A reload of this page must not look like a second wish.
  history.replaceState(null, "", "/");
  switches.adopt(path);
  run(path, { operation, flow });
}

/** Calls a path of the API, or runs the kept `operation` that was such a call; `revoked`: the person has just been. */
async function run(path, { operation, flow, revoked = false } = {}) {
  const what = switches.name(path) ?? "Your operation";
  const opening = revoked ? "You are revoked. Calling with what the tiers still hold …" : `Calling ${what} …`;
  say("calling", operation ? "Welcome back." : opening, operation ? `${what} goes on by itself …` : "");
  hold(true);
  clear();
  outcome.scrollIntoView({ block: "nearest" });
  const slow = setTimeout(() => { progress.hidden = false; }, 300);
  const answer = operation ? await complete(operation, flow) : await call(path);
  clearTimeout(slow);
  progress.hidden = true;
  hold(false);
  const meaning = explain(answer, what, Boolean(operation), { revoked, path });
  show(answer, meaning);
  if (meaning.again && path) {
    // A kept operation is run once; this is the same call anew.
    again.onclick = () => busy || run(path);
    again.hidden = false;
    again.focus();
  }
  if (meaning.onward) location.assign(meaning.go);
}

/** A call with its picture; without one where no events are kept. */
async function call(path) {
  const flow = await picture?.begin();
  if (flow) picture.follow(flow);
  const answer = await send(path, "GET", undefined, flow ? { "X-Flow": flow } : {});
  if (flow) picture.settle(answer.correlationId);
  return answer;
}

/** The kept operation, in the picture that it began in. */
async function complete(operation, flow) {
  if (flow && picture) {
    await picture.resume(flow);
    picture.follow(flow);
  }
  const answer = await send(`/api/ops/${operation}`, "POST");
  picture?.settle(answer.correlationId);
  return answer;
}

/** Revokes the person, then calls the API, so that one sees what becomes of tokens that have not ended. */
async function revoke() {
  say("calling", "Revoking you …", "At the authority, and at the downstream API.");
  hold(true);
  clear();
  progress.hidden = false;
  const answer = await send("/demo/revoke", "POST");
  progress.hidden = true;
  hold(false);
  if (answer.ok) await run(switches.path("/api/api", { challenged: true }), { revoked: true });
  else show(answer, explain(answer, "Revoke me"));
}

function clear() {
  for (const part of [onward, again, result, facts]) part.hidden = true;
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
  facts.textContent = factsOf(answer);
  facts.hidden = false;
}

/** One call at a time. `disabled` would take the keyboard's focus away. */
function hold(held) {
  busy = held;
  for (const button of buttons) button.setAttribute("aria-disabled", held);
}

function say(state, title, text) {
  const strong = document.createElement("strong");
  strong.textContent = title;
  status.dataset.state = state;
  status.replaceChildren(strong, " ", text);
}
