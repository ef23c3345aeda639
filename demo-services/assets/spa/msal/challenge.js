// What an API demands: `WWW-Authenticate` (RFC 9110 11.6.1) and the claims in it. `fetch` joins several such fields by commas, which
// the grammar allows for; commas, names of schemes and whole challenges may stand in quoted strings as well.

/** Longer than any service sends here (its whole head is 32 KiB). */
const MAX_TEXT = 16 * 1024;
/** The claims as JSON. */
const MAX_CLAIMS = 8 * 1024;
/** Errors (RFC 6750 3.1 and Entra's) that may come with claims. */
const WITH_CLAIMS = [undefined, "insufficient_claims", "invalid_token"];

const TOKEN = /[!#$%&'*+\-.^_`|~0-9A-Za-z]+/y;
/** RFC 7235 2.1: where the challenge has no parameters; its end is a comma or that of the text. */
const TOKEN68 = /[0-9A-Za-z\-._~+/]+=*(?=[ \t]*(?:,|$))/y;
const QUOTED = /"((?:[\t \x21\x23-\x5b\x5d-\x7e\x80-\xff]|\\[\t \x21-\x7e\x80-\xff])*)"/y;
const EQUALS = /[ \t]*=[ \t]*/y;
const SPACES = / +/y;
/** Between two elements of a list, or behind the last one. */
const COMMAS = /[ \t]*(?:,[ \t]*)+|[ \t]+$/y;
const BLANK = /[ \t,]*/y;

/**
 * The challenges of a header: `[{scheme, token68, parameters}]`, scheme and names in lower case, `parameters` a Map. `null` for a
 * text that is none: half of a list is no list. A challenge with a parameter twice has `parameters` null, as nobody knows which one counts.
 */
export function parse(text) {
  if (typeof text !== "string" || text.length > MAX_TEXT) return null;
  const challenges = [];
  let at = 0;
  const take = pattern => {
    pattern.lastIndex = at;
    const found = pattern.exec(text);
    if (found) at = pattern.lastIndex;
    return found;
  };
  // Behind a scheme and spaces only a parameter makes sense.
  let parameterNext = false;
  take(BLANK);
  while (at < text.length) {
    const word = take(TOKEN)?.[0].toLowerCase();
    if (word === undefined) return null;
    if (take(EQUALS)) {
      const quoted = take(QUOTED)?.[1];
      const value = quoted === undefined ? take(TOKEN)?.[0] : quoted.replace(/\\(.)/gs, "$1");
      const challenge = challenges.at(-1);
      if (value === undefined || !challenge || challenge.token68 !== null) return null;
      if (challenge.parameters?.has(word)) challenge.parameters = null;
      challenge.parameters?.set(word, value);
      parameterNext = false;
    } else {
      if (parameterNext) return null;
      const challenge = { scheme: word, token68: null, parameters: new Map() };
      challenges.push(challenge);
      if (take(SPACES)) {
        challenge.token68 = take(TOKEN68)?.[0] ?? null;
        if (challenge.token68 === null) {
          parameterNext = !take(BLANK)[0].includes(",") && at < text.length;
          continue;
        }
      }
    }
    if (at < text.length && !take(COMMAS)) return null;
  }
  return challenges;
}

/**
 * What a refusal's header asks of the person: `{error, claims}`. `claims` is the JSON text to ask the authority with, and null where
 * there is none that can be used. The first Bearer challenge with usable claims counts, else the first one. Null without any.
 */
export function demand(text) {
  const bearers = (parse(text) ?? []).filter(({ scheme, parameters }) => scheme === "bearer" && parameters);
  const demands = bearers.map(({ parameters }) => {
    const error = parameters.get("error");
    return { error: error ?? null, claims: WITH_CLAIMS.includes(error) ? claimsOf(parameters.get("claims")) : null };
  });
  return demands.find(({ claims }) => claims) ?? demands[0] ?? null;
}

/** A token issued since is demanded (continuous access evaluation), and nothing else. */
export function isRevocation(claims) {
  const { access_token } = JSON.parse(claims ?? "{}");
  return Object.keys(access_token ?? {}).join() === "nbf";
}

/** Only what concerns the access token: an API has no say in what else the authority tells this page. */
function claimsOf(text) {
  const json = decode(text);
  if (json === null || json.length > MAX_CLAIMS) return null;
  try {
    const { access_token } = JSON.parse(json);
    const asked = typeof access_token === "object" && access_token !== null && !Array.isArray(access_token);
    return asked ? JSON.stringify({ access_token }) : null;
  } catch {
    return null;
  }
}

/** Base64 in either alphabet, with or without padding, that holds UTF-8. */
function decode(text) {
  if (typeof text !== "string" || !/^[0-9A-Za-z+/\-_]+={0,2}$/.test(text)) return null;
  try {
    const bytes = Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/").replace(/=+$/, "")), letter => letter.charCodeAt(0));
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return null;
  }
}
