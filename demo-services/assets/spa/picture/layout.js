// From the events of a flow to the steps of its picture. Pure: nothing here touches the page.

/** The lanes from left to right; a request runs right, an answer left. */
export const LANES = ["browser", "spa-backend", "middle-tier", "downstream-api", "graph", "authority"];
/** Drawn even when nothing happens there. */
const ALWAYS = ["browser", "spa-backend", "middle-tier", "downstream-api", "authority"];
/** A token that nobody had to ask the authority for. */
const CACHED = ["memory", "shared"];

const rank = lane => LANES.indexOf(lane);

/**
 * `{lanes, steps, facts}` of `{events, token_requests}`.
 *
 * A step: `key` (stable while more events arrive), `event`, `from` and `to` (the same lane for a note), `tone` ("request", "good",
 * "warn", "bad", "note"), `lock` ("open", "closed", null), `card` (the token that the receiving tier accepted, or null), `answered`.
 */
export function layout({ events = [], token_requests = 0 } = {}) {
  const steps = [];
  const open = [];
  for (const { event, key } of ordered(events)) {
    if (event.kind === "accepted") {
      const call = open.findLast(call => call.to === event.tier && !call.card);
      if (call) {
        call.card = event;
        continue;
      }
    }
    const step = { key, event, ...arrow(event), tone: tone(event), lock: lock(event), card: null, answered: null };
    if (event.kind === "accepted") step.card = event;
    if (event.kind === "call") open.push(step);
    if (event.kind === "answer" || event.kind === "no_answer") {
      const at = open.findLastIndex(call => isSamePair(call, step));
      const [call] = at < 0 ? [] : open.splice(at, 1);
      if (call) {
        call.answered = event;
        if (step.tone === "good") call.tone = "good";
      }
    }
    steps.push(step);
  }
  const touched = new Set(steps.flatMap(step => [step.from, step.to]));
  return {
    lanes: LANES.filter(lane => ALWAYS.includes(lane) || touched.has(lane)),
    steps,
    facts: {
      tokenRequests: token_requests,
      cached: events.filter(event => event.kind === "token" && CACHED.includes(event.source)).length,
      elapsed: elapsed(steps, events),
    },
  };
}

/**
 * The events in the order in which they happened, each with a key. Every tier's own events are in order; where two tiers noted the
 * same millisecond, a caller's answer comes after what the called tier did, and everything else from left to right.
 */
function ordered(events) {
  const queues = new Map();
  for (const event of events) {
    if (rank(event.from ?? event.tier) < 0 || rank(event.to ?? event.tier) < 0) continue;
    const queue = queues.get(event.tier) ?? [];
    queue.push({ event, key: `${event.tier}.${queue.length}` });
    queues.set(event.tier, queue);
  }
  const waits = ({ event }) => event.kind === "answer" || event.kind === "no_answer";
  const before = (a, b) => {
    if (a.event.at !== b.event.at) return a.event.at < b.event.at;
    if (waits(a) !== waits(b)) return waits(b);
    const order = rank(a.event.tier) - rank(b.event.tier);
    return waits(a) ? order > 0 : order < 0;
  };
  const merged = [];
  for (;;) {
    const heads = [...queues.values()].filter(queue => queue.length > 0);
    if (heads.length === 0) return merged;
    merged.push(heads.reduce((first, queue) => (before(queue[0], first[0]) ? queue : first)).shift());
  }
}

function arrow(event) {
  const { kind, tier } = event;
  const from = event.from ?? tier;
  const to = event.to ?? tier;
  if (kind === "accepted") return { from: tier, to: tier };
  if (kind === "token" && CACHED.includes(event.source)) return { from: to, to };
  // Whoever is named as caller: an answer runs left.
  if (kind === "answer" && rank(from) < rank(to)) return { from: to, to: from };
  return { from, to };
}

function tone(event) {
  switch (event.kind) {
    case "answer":
      if (isGood(event)) return "good";
      return event.challenge || event.status === 401 ? "warn" : "bad";
    case "token":
      return CACHED.includes(event.source) ? "note" : "good";
    case "signed_in":
      return "good";
    case "token_refused":
      return event.claims || ["interaction_required", "consent_required", "invalid_grant"].includes(event.error) ? "warn" : "bad";
    case "no_answer":
      return "bad";
    case "accepted":
      return "note";
    default:
      return "request";
  }
}

function lock(event) {
  if (event.kind === "signed_in") return "open";
  if (event.kind === "token") return CACHED.includes(event.source) ? null : "open";
  if (event.kind === "token_refused") return "closed";
  return event.kind === "answer" && event.challenge ? "closed" : null;
}

function isGood({ status, grpc_status }) {
  return status >= 200 && status < 400 && !Number(grpc_status ?? 0);
}

function isSamePair(call, answer) {
  return [call.from, call.to].sort().join() === [answer.from, answer.to].sort().join();
}

/** Milliseconds in which the tiers were at work: the person's own time at the authority does not count. */
function elapsed(steps, events) {
  const last = Math.max(0, ...events.map(event => event.at));
  const calls = steps.filter(step => step.event.kind === "call" && step.from === "browser");
  return calls.reduce((sum, call) => sum + (call.answered?.at ?? last) - call.event.at, 0);
}
