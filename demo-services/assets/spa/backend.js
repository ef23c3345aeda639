// Calls of this page's own backend. Tokens of the APIs are there and never here.

const drawn = name => document.querySelector(`meta[name="${name}"]`)?.content ?? "";

/**
 * One call, perhaps with a body of JSON, more headers and another deadline (milliseconds): `{ok, status, body, elapsed, correlationId}`;
 * status 0 when there was no answer.
 */
export async function send(path, method = "GET", json, headers = {}, deadline = 70_000) {
  const started = performance.now();
  const answer = (status, body, correlationId = null) => ({
    ok: status >= 200 && status < 300,
    status,
    body,
    elapsed: Math.round(performance.now() - started),
    correlationId,
  });
  try {
    const response = await fetch(path, {
      method,
      headers: {
        ...headers,
        "Accept": "application/json",
        "X-Session-Token": drawn("session-token"),
        "X-Account": drawn("account"),
        ...(json && { "Content-Type": "application/json" }),
      },
      body: json && JSON.stringify(json),
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(deadline),
    });
    return answer(response.status, parse(await response.text()), response.headers.get("x-correlation-id"));
  } catch {
    return answer(0, null);
  }
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return text;
  }
}
