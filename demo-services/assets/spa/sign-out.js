// The button that ends the session, on every page of it. The page is left only when the session has ended; else it says so.

import { send } from "./backend.js";
import { dropDraft } from "./draft.js";
import { explain } from "./words.js";

const [button, notice] = ["sign-out", "sign-out-notice"].map(id => document.getElementById(id));

let busy = false;

button?.addEventListener("click", () => busy || signOut());

async function signOut() {
  hold(true);
  notice.hidden = true;
  const answer = await send("/auth/sign-out", "POST");
  const go = answer.ok ? answer.body?.go : "/";
  // 401: there is no session any more.
  if ((answer.ok || answer.status === 401) && typeof go === "string") {
    dropDraft();
    location.assign(go);
    return;
  }
  hold(false);
  // Of an answer that is not this page's backend's, nothing is known.
  tell(explain(answer.ok ? { ok: false, status: 0 } : answer, "Signing out"));
}

/** `disabled` would take the keyboard's focus away. */
function hold(held) {
  busy = held;
  button.setAttribute("aria-disabled", held);
  button.textContent = held ? "Signing out …" : "Sign out";
}

function tell({ title, text, way, go }) {
  const strong = document.createElement("strong");
  strong.textContent = title;
  const onward = document.createElement(go ? "a" : "span");
  if (go) onward.href = go;
  onward.textContent = go ? way : "You may still be signed in; press “Sign out” again.";
  notice.replaceChildren(strong, " ", text, " ", onward);
  notice.hidden = false;
}
