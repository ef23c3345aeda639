// Calls of this page's own backend. Tokens of the APIs are there and never here.

const drawn = name => document.querySelector(`meta[name="${name}"]`)?.content ?? "";

/** One call, perhaps with more headers and a JSON body: `{ok, status, body, elapsed, correlationId}`; status 0 when there was no answer. */
export async function send(path, method = "GET", { headers = {}, body } = {}) {
  const started = performance.now();
  const answer = (status, text, correlationId = null) => ({
    ok: status >= 200 && status < 300,
    status,
    body: text,
    elapsed: Math.round(performance.now() - started),
    correlationId,
  });
  try {
    const response = await fetch(path, {
      method,
      headers: {
        ...headers,
        ...(body === undefined ? {} : { "Content-Type": "application/json" }),
        "Accept": "application/json",
        "X-Session-Token": drawn("session-token"),
        "X-Account": drawn("account"),
      },
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      redirect: "error",
      signal: AbortSignal.timeout(70_000),
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
