// The call that waits for the person: kept for one account in this tab's session storage, and taken out before it is made again, so
// that no reload makes it once more.

const PREFIX = "tower-bearer.waiting.";
/** How often the same call may ask for a stronger sign-in: the policy of the authority, and the API itself. */
export const ROUNDS = 2;
const LONGEST = 10 * 60 * 1000;

/** `waiting`: `{call, round, header, claims}`, of which nothing is secret. */
export function keep(account, waiting) {
  forget();
  sessionStorage.setItem(PREFIX + account, JSON.stringify({ ...waiting, since: Date.now() }));
}

/** What waits for this account, which waits no longer. */
export function take(account) {
  const text = sessionStorage.getItem(PREFIX + account);
  sessionStorage.removeItem(PREFIX + account);
  try {
    const { call, round, header, claims, since } = JSON.parse(text) ?? {};
    const valid = typeof call === "string" && Number.isInteger(round) && Date.now() - since < LONGEST;
    return valid ? { call, round, header, claims } : null;
  } catch {
    return null;
  }
}

/** Drops whatever waits; says whether something did. */
export function forget() {
  const keys = Object.keys(sessionStorage).filter(key => key.startsWith(PREFIX));
  for (const key of keys) sessionStorage.removeItem(key);
  return keys.length > 0;
}
