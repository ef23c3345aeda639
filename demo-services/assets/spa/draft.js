// What was typed into the profile's form and sent: kept over the way to the sign-in and back, in this tab and for one account only.

const KEY = "profile-draft";

/** `values`: `{displayName, ...}`, those that were to be changed. */
export function keepDraft(account, values) {
  sessionStorage.setItem(KEY, JSON.stringify({ account, values }));
}

export function dropDraft() {
  sessionStorage.removeItem(KEY);
}

/** The values, or null; what is another account's is dropped. */
export function readDraft(account) {
  try {
    const kept = JSON.parse(sessionStorage.getItem(KEY));
    if (kept?.account === account) return kept.values;
  } catch {
    // Not ours: as good as nothing.
  }
  dropDraft();
  return null;
}
