// What a step shows when it is opened: header text with its claims decoded, the token as a card, a line for the terminal.

import { OPERATION, label, name, sentence, source } from "./sentences.js";

/** The contents of the panel for a step; `caFile` is what a command must trust besides the system, if that is known. */
export function details(step, caFile) {
  const { event } = step;
  const parts = [heading(step), paragraph(sentence(step))];
  if (event.kind === "call") parts.push(facts(callFacts(event)));
  if (event.kind === "answer") parts.push(facts([["Status", statusText(event)], ["Took", took(event)]]));
  if (event.kind === "no_answer") parts.push(facts([["Reason", event.reason]]));
  if (event.kind.startsWith("token")) {
    parts.push(facts([["Grant", event.grant?.replaceAll("_", " ")], ["Scopes", event.scopes?.join(" ")], ["Error", event.error], ["Token", source(event.source)]]));
  }
  if (event.kind === "answer" && event.challenge) parts.push(...challenge(event.challenge));
  else if (event.claims) parts.push(titled("Claims that are demanded", code(pretty(event.claims), "claims", "Claims that are demanded")));
  if (step.card) parts.push(titled("The token that was accepted", card(step.card)));
  if (event.kind === "call") parts.push(titled("The same from a terminal", ...line(command(event, step.from, caFile))));
  return parts;
}

function heading(step) {
  const title = document.createElement("h3");
  // Whoever opens a step by keyboard is led here.
  title.tabIndex = -1;
  title.textContent = step.from === step.to ? name(step.to) : `${name(step.from)} → ${name(step.to)}: ${label(step)}`;
  return title;
}

function callFacts({ url, protocol, attempt, token_source }) {
  return [["URL", url?.replace(OPERATION, "{id}")], ["Protocol", protocol === "grpc" ? "gRPC" : "HTTP"], ["Attempt", attempt > 1 ? attempt : null], ["Token", source(token_source)]];
}

const statusText = ({ status, grpc_status }) => (grpc_status ? `${status}, gRPC status ${grpc_status}` : status);
const took = ({ took_ms }) => (Number.isFinite(took_ms) ? `${took_ms} ms` : null);

/** The header as it was sent, and what its `claims` parameter says. */
function challenge({ header, claims }) {
  const sent = titled("The header as it was sent", code(`WWW-Authenticate: ${header}`, "header", "The header as it was sent"));
  const decoded = claims
    ? titled("Its claims, decoded", code(pretty(claims), "claims", "Its claims, decoded"))
    : titled("Its claims", paragraph("None: it names what is missing without them."));
  const pair = document.createElement("div");
  pair.className = "pair";
  pair.append(sent, decoded);
  return [pair];
}

/** What a token says, never the token. */
function card({ card: token }) {
  const list = facts([
    ["Audience", token.audience],
    ["Scopes", token.scopes?.join(" ") || (token.app_only ? "none: an application's own token" : "none")],
    ["Contexts", token.contexts?.join(" ") || "none"],
    ["Client", token.client],
    ["Age", Number.isFinite(token.age_s) ? `${token.age_s} s` : null],
    ["Lifetime", token.expires_at > token.issued_at ? `${token.expires_at - token.issued_at} s` : null],
  ]);
  list.classList.add("token");
  return list;
}

/** What is sent with a body. */
const WITH_BODY = ["PATCH", "POST", "PUT"];

/** A call of an API needs its token; a call of this page needs its cookie and header token. */
function command({ method = "GET", url = "", protocol }, from, caFile) {
  if (protocol === "grpc" && URL.canParse(url)) {
    const { host, pathname, protocol: scheme } = new URL(url);
    const trust = scheme === "http:" ? " -plaintext" : caFile ? ` -cacert ${quoted(caFile)}` : "";
    return `grpcurl${trust} -import-path demo-services/proto -proto downstream.proto -H "Authorization: Bearer $TOKEN" ${host} ${pathname.slice(1)}`;
  }
  const trust = caFile && url.startsWith("https:") ? ` --cacert ${quoted(caFile)}` : "";
  const address = quoted(url.replace(OPERATION, "OPERATION_ID"));
  const credentials = from === "browser" ? '-H "Cookie: $COOKIE" -H "X-Session-Token: $SESSION_TOKEN" -H "Sec-Fetch-Site: same-origin"' : '-H "Authorization: Bearer $TOKEN"';
  // What a kept operation sends is kept with it.
  const body = WITH_BODY.includes(method) && !url.includes(OPERATION) ? ' -H "Content-Type: application/json" -d @body.json' : "";
  return `curl -i${trust} -X ${/^[A-Z]+$/.test(method) ? method : quoted(method)} ${address} ${credentials}${body}`;
}

/** As one word of the shell. */
const quoted = text => `'${text.replaceAll("'", "'\\''")}'`;

function line(text) {
  const copy = document.createElement("button");
  copy.type = "button";
  copy.className = "button quiet copy";
  copy.textContent = "Copy";
  const shown = code(text, "curl", "Command line");
  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      copy.textContent = "Copied";
    } catch {
      // Where the clipboard is refused, the keyboard's own copy does it.
      getSelection().selectAllChildren(shown);
      copy.textContent = "Selected: copy it with the keyboard";
    }
  });
  const note = document.createElement("p");
  note.className = "facts";
  note.textContent = "What begins with $ is yours to fill in: tokens and cookies of this call stay where they are.";
  return [shown, copy, note];
}

function titled(title, ...parts) {
  const block = document.createElement("div");
  const heading = document.createElement("h4");
  heading.textContent = title;
  block.append(heading, ...parts);
  return block;
}

function paragraph(text) {
  const element = document.createElement("p");
  element.textContent = text;
  return element;
}

/** Text that may have to be scrolled, also by keyboard. */
function code(text, kind, name) {
  const element = document.createElement("pre");
  element.dataset.kind = kind;
  element.tabIndex = 0;
  element.setAttribute("role", "region");
  element.setAttribute("aria-label", name);
  element.textContent = text;
  return element;
}

function facts(pairs) {
  const list = document.createElement("dl");
  for (const [term, value] of pairs) {
    if (value === null || value === undefined || value === "") continue;
    const [dt, dd] = [document.createElement("dt"), document.createElement("dd")];
    dt.textContent = term;
    dd.textContent = value;
    list.append(dt, dd);
  }
  return list;
}

const pretty = claims => (typeof claims === "string" ? claims : JSON.stringify(claims, null, 2));
