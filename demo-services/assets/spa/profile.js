// The profile page: shows the profile, opens the form behind a second factor, sends the change, and says what came of it.

import { send } from "./backend.js";
import { dropDraft, keepDraft, readDraft } from "./draft.js";
import { facts as factsOf, reloadOutOfHistory } from "./shown.js";
import "./sign-out.js";
import { explain } from "./words.js";

const byId = id => document.getElementById(id);
const [status, progress, onward, again, facts, view, edit, form, save, cancel] =
  ["status", "progress", "continue", "again", "facts", "view", "edit", "form", "save", "cancel"].map(byId);
const buttons = [edit, save, cancel];
const fields = ["displayName", "givenName", "surname"].map(byId);
const account = document.querySelector('meta[name="account"]').content;

const FACTOR = {
  edit: "Editing needs a second factor. Confirm who you are, and the form opens by itself.",
  save: "This change needs a second factor. It is kept; confirm who you are, and it is made once, by itself.",
};
/** Refusals after which nobody knows whether the change was made. */
const UNKNOWN = ["outcome_unknown", "api_broken", "api_timeout"];
const KEPT = "What you typed is kept: open the form again to have it back.";

let profile = null;
let busy = false;

edit.addEventListener("click", () => busy || openForm());
cancel.addEventListener("click", () => busy || closeForm());
form.addEventListener("submit", event => {
  // The page's policy allows no form to be sent by the browser itself.
  event.preventDefault();
  if (!busy) saveForm();
});
for (const field of fields) field.addEventListener("input", () => wrong(field, ""));

reloadOutOfHistory();

const { operation, kind } = byId("outcome").dataset;
if (operation) {
  // A reload of this page must not look like a second wish.
  history.replaceState(null, "", "/profile");
  runKept();
} else {
  load();
}

/** Shows the profile. */
async function load() {
  const answer = await call("Loading your profile", () => send("/api/profile"));
  if (!answer.ok) {
    tell(answer, "Loading your profile", { retry: load });
    return;
  }
  show(answer.body);
  const typed = readDraft(account);
  say("idle", "", typed ? `This is your profile as it is now. ${KEPT}` : "This is your profile as it is now.");
}

/** The profile beside what was said already. */
async function look() {
  const answer = await send("/api/profile");
  if (answer.ok) show(answer.body);
}

async function openForm() {
  const answer = await call("Opening the form", () => send("/api/profile/edit"));
  if (answer.ok) fill(answer.body);
  else tell(answer, "Opening the form", { factor: FACTOR.edit, retry: openForm });
}

/** The form with the profile in it, and with what was typed before where that did not get through. */
function fill(body, text = "") {
  show(body);
  const typed = readDraft(account);
  for (const field of fields) {
    field.value = typed?.[field.name] ?? body[field.name] ?? "";
    wrong(field, "");
  }
  byId("mail").value = body.mail ?? "";
  say("idle", "", text || (typed ? "The form holds what you typed before; it was not saved yet." : "Change what you like, then save."));
  [view.hidden, form.hidden] = [true, false];
  fields[0].focus();
}

function closeForm() {
  dropDraft();
  [view.hidden, form.hidden] = [false, true];
  say("idle", "", "Nothing was changed.");
  edit.focus();
}

async function saveForm() {
  const changes = {};
  for (const field of fields) {
    const text = field.value.trim();
    if (text !== (profile[field.name] ?? "")) changes[field.name] = text;
  }
  if (changes.displayName === "") {
    point(fields[0], "The display name must not be empty.");
    return;
  }
  if (Object.keys(changes).length === 0) {
    closeForm();
    return;
  }
  keepDraft(account, changes);
  const answer = await call("Saving", () => send("/api/profile", "PATCH", changes));
  if (answer.ok) {
    await saved("Your profile was changed.");
  } else if (isUnknown(answer)) {
    await compare(answer);
  } else {
    tell(answer, "Saving", { factor: FACTOR.save, after: "The form is as you left it." });
    const field = fields.find(field => field.name === answer.body?.field);
    if (field) point(field, answer.body.detail);
  }
}

/** What waited for the second factor: to see the profile, to open the form, or to save. */
async function runKept() {
  // Of an operation that is not kept any more the page knows only by what is left of it.
  const what = kind || (readDraft(account) ? "save" : "view");
  const words = { edit: "Opening the form", save: "Saving", view: "Loading your profile" }[what];
  const answer = await call("Welcome back", () => send(`/api/ops/${operation}`, "POST"), `${words} goes on by itself …`);
  if (answer.ok && what === "save") {
    await saved("Your second factor was accepted, and your profile was changed once.");
  } else if (answer.ok && what === "edit") {
    fill(answer.body, readDraft(account) ? "" : "Your second factor was accepted. Change what you like, then save.");
  } else if (answer.ok) {
    show(answer.body);
    say("done", "", "This is your profile as it is now.");
  } else if (answer.status === 410 || (what === "save" && isUnknown(answer))) {
    await compare(answer);
  } else {
    const retry = { edit: openForm, save: openForm, view: load }[what];
    tell(answer, words, { factor: FACTOR[what], repeated: true, retry, after: what === "save" ? `Your profile was not changed. ${KEPT}` : "" });
    if (answer.status !== 401 && what !== "view") await look();
  }
}

async function saved(text) {
  dropDraft();
  [view.hidden, form.hidden] = [false, true];
  const answer = await call("Saved", () => send("/api/profile"), "Reading your profile anew …");
  if (answer.ok) show(answer.body);
  say("done", "Saved.", answer.ok ? text : `${text} It could not be read anew at this moment.`);
  if (!answer.ok) retry(load);
  edit.focus();
}

/** Nobody said whether the change was made: looks, and says what is there. */
async function compare(answer) {
  const sent = readDraft(account);
  const now = await call("Looking", () => send("/api/profile"), "Reading your profile, to see what is there …");
  const detail = answer.body?.detail ?? "There was no answer.";
  if (!now.ok) {
    say("error", "It is not known what came of it.", `${detail} Your profile cannot be read at this moment either. ${form.hidden ? KEPT : "The form is as you left it."}`);
    retry(() => compare(answer));
    return;
  }
  show(now.body);
  const made = sent && Object.entries(sent).every(([name, value]) => (now.body[name] ?? "") === value);
  if (made) {
    dropDraft();
    [view.hidden, form.hidden] = [false, true];
    say("done", "Your profile has the values that you sent.", "The answer got lost, but the change is there.");
    edit.focus();
  } else if (sent) {
    say("error", "Your profile does not have the values that you sent.", `${detail} ${form.hidden ? KEPT : "The form is as you left it; look at it and save again if you still want it."}`);
    if (form.hidden) retry(openForm, "Open the form");
  } else {
    say("idle", "That is over.", `${detail} Below is your profile as it is now.`);
  }
}

/** One call at a time, with progress shown if it is slow. `disabled` would take the keyboard's focus away. */
async function call(title, request, text = "") {
  busy = true;
  for (const button of buttons) button.setAttribute("aria-disabled", "true");
  for (const part of [onward, again, facts]) part.hidden = true;
  say("calling", `${title} …`, text);
  const slow = setTimeout(() => { progress.hidden = false; }, 300);
  const answer = await request();
  clearTimeout(slow);
  progress.hidden = true;
  for (const button of buttons) button.removeAttribute("aria-disabled");
  busy = false;
  return answer;
}

/** A refusal in words, with the way on. */
function tell(answer, what, { factor, repeated = false, retry: anew, after = "" } = {}) {
  const meaning = explain(answer, what, repeated);
  const asked = meaning.state === "challenge" && answer.body.error === "step_up_required" && !repeated;
  say(meaning.state, meaning.title, asked && factor ? factor : [meaning.text, meaning.state === "error" && after].filter(Boolean).join(" "));
  if (meaning.go) {
    onward.href = here(meaning.go);
    onward.textContent = meaning.way;
    onward.hidden = false;
    onward.focus();
  } else if (anew) {
    retry(anew, anew === openForm && what === "Saving" ? "Open the form" : "Try again");
  }
  facts.textContent = factsOf(answer);
  facts.hidden = false;
  if (meaning.onward) location.assign(onward.href);
}

/** The start page's ways lead back to this page. */
function here(go) {
  return { "/": "/profile", "/auth/sign-in": "/auth/sign-in?return_to=/profile" }[go] ?? go;
}

function retry(action, label = "Try again") {
  again.textContent = label;
  again.onclick = () => busy || action();
  again.hidden = false;
}

function show(body) {
  profile = body;
  for (const value of view.querySelectorAll("dd")) value.textContent = body[value.dataset.name] ?? "";
  view.hidden = !form.hidden;
}

function say(state, title, text) {
  const strong = document.createElement("strong");
  strong.textContent = title;
  status.dataset.state = state;
  status.replaceChildren(...(title ? [strong, " "] : []), text);
  // The form is longer than a phone's screen, and the words stand above it.
  if (state !== "idle") status.scrollIntoView({ block: "nearest" });
}

/** Says beside the field what is wrong with it, or takes that away. */
function wrong(field, text) {
  const place = byId(`${field.id}-error`);
  place.textContent = text;
  place.hidden = !text;
  if (text) field.setAttribute("aria-invalid", "true");
  else field.removeAttribute("aria-invalid");
}

function point(field, text) {
  wrong(field, text);
  field.focus();
}

function isUnknown(answer) {
  return answer.status === 0 || UNKNOWN.includes(answer.body?.error);
}
