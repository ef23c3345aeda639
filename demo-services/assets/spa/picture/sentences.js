// The words of the picture: a label on each arrow, and a sentence that says the same without it.

const NAMES = {
  "browser": "Browser",
  "spa-backend": "SPA backend",
  "middle-tier": "Middle tier",
  "downstream-api": "Downstream API",
  "graph": "Graph",
  "authority": "Authority",
};
const GRANTS = {
  on_behalf_of: ["on behalf of you", "asks for a token to act on your behalf"],
  refresh_token: ["renew", "asks for a new token with its refresh token"],
  authorization_code: ["redeem the code", "redeems the code of your sign-in"],
};
const REASONS = {
  step_up: ["step-up", "You go to the authority with what is demanded."],
  sign_in: ["sign in", "You go to the authority to sign in."],
  consent: ["consent", "You go to the authority to agree."],
};
const REFUSALS = {
  interaction_required: "refuses: it wants more of you first",
  consent_required: "refuses: your consent is missing",
  invalid_grant: "refuses: what the token request builds on is no longer good",
  unavailable: "does not answer",
  misconfigured: "refuses this application",
};
const LOST = { unreachable: "is not reachable", timeout: "does not answer in time", broken: "breaks off" };

/** A demand for a sign-in since some time, which is no stronger one. */
const ANEW = ["sign in anew, with claims", "You go to the authority to sign in anew, as is demanded."];
const wantsAnew = event => Boolean(event.claims?.access_token?.nbf);

/** The id of a kept operation is not told; its place in a path is. */
export const OPERATION = "%7Bid%7D";

export const name = lane => NAMES[lane] ?? lane;

/** Where a token came from, in words; empty if nothing is known. */
export function source(source) {
  return { memory: "from the cache of this tier", shared: "from the shared cache", authority: "just issued", session: "of the session" }[source] ?? "";
}

/** What a call asks for: `GET /api`, `gRPC Api`. */
export function target({ method = "GET", url = "", protocol }) {
  const path = (URL.canParse(url) ? new URL(url).pathname : url).replace(OPERATION, "{id}");
  return protocol === "grpc" ? `gRPC ${path.split("/").at(-1)}` : `${method} ${path}`;
}

/** A few words on the arrow. */
export function label({ event, from }) {
  switch (event.kind) {
    case "call":
      return target(event) + (event.attempt > 1 ? ", again" : "");
    case "answer":
      return [event.grpc_status ? `gRPC status ${event.grpc_status}` : event.status, event.challenge && (event.challenge.error ?? "challenge")].filter(Boolean).join(" ");
    case "no_answer":
      return "no answer";
    case "token_request":
      return (GRANTS[event.grant]?.[0] ?? "token") + (event.claims ? ", with claims" : "");
    case "token":
      return from === "authority" ? "token" : `token ${source(event.source)}`;
    case "token_refused":
      return event.error ?? "refused";
    case "accepted":
      return "token accepted";
    case "sign_in":
      if (wantsAnew(event)) return ANEW[0];
      return (REASONS[event.reason]?.[0] ?? "sign in") + (event.claims ? ", with claims" : "");
    case "signed_in":
      return "signed in";
    default:
      return event.kind;
  }
}

/** Refused, and no word of what would help. */
const isMute = ({ status, challenge }) => !challenge && (status === 401 || status === 403);

/** The step in words. */
export function sentence({ event, from, to, card }) {
  const [who, whom] = [name(from), name(to)];
  switch (event.kind) {
    case "call": {
      const how = source(event.token_source);
      return `${who} calls ${whom}: ${target(event)}${event.attempt > 1 ? ", once more" : ""}${how && `, with a token ${how}`}.${card ? " The token is accepted." : ""}`;
    }
    case "answer":
      if (event.challenge) return `${who} answers ${event.status}: a challenge that says what is missing.`;
      if (to === "browser" && event.status === 401) return `${who} answers 401: it keeps the call and tells this page that you are needed.`;
      return `${who} answers ${event.grpc_status ? `gRPC status ${event.grpc_status}` : event.status}${isMute(event) ? ", without a challenge: nothing says what is missing" : ""}.`;
    case "no_answer":
      return `${name(event.from)} ${LOST[event.reason] ?? "gives no answer"}.`;
    case "token_request":
      return `${who} ${GRANTS[event.grant]?.[1] ?? "asks for a token"}${event.claims ? ", with the demanded claims" : ""}.`;
    case "token":
      return from === "authority" ? `${who} gives ${whom} a token.` : `${whom} has a token ${source(event.source)}.`;
    case "token_refused":
      return `${who} ${REFUSALS[event.error] ?? "refuses"}.`;
    case "accepted":
      return `${whom} accepts the token.`;
    case "sign_in":
      if (wantsAnew(event)) return ANEW[1];
      return REASONS[event.reason]?.[1] ?? "You go to the authority.";
    case "signed_in":
      return "The authority is satisfied and sends you back.";
    default:
      return `${who}: ${event.kind}.`;
  }
}
