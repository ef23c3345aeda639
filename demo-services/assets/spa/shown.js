// What all pages do alike: an answer as a table, the line of facts about it, and no page that was drawn for somebody else.

/** Members that stand first. */
const FIRST = ["name", "issued-by", "issued-for", "scope"];

/** A definition table for an object, its text for everything else. */
export function table(body) {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    const text = document.createElement("pre");
    text.textContent = typeof body === "string" ? body : JSON.stringify(body, null, 2);
    return text;
  }
  const list = document.createElement("dl");
  const names = [...FIRST.filter(name => name in body), ...Object.keys(body).filter(name => !FIRST.includes(name))];
  for (const name of names) {
    const [term, value] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    value.textContent = typeof body[name] === "string" ? body[name] : JSON.stringify(body[name]);
    value.dataset.name = name;
    list.append(term, value);
  }
  return list;
}

/** Status, time in milliseconds and correlation id of an answer, as far as there are any. */
export function facts({ status, elapsed, correlationId }) {
  return [status && `Status ${status}`, `${elapsed} ms`, correlationId && `correlation id ${correlationId}`].filter(Boolean).join(" · ");
}

/** A page out of the browser's history may have been drawn for somebody else, and knows nothing of what happened since. */
export function reloadOutOfHistory() {
  addEventListener("pageshow", event => event.persisted && location.reload());
}
