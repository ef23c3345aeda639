// The authority's pages without a browser: follows redirects, keeps cookies, fills in the forms.

const entities = { amp: '&', lt: '<', gt: '>', quot: '"' };
const decode = (text) =>
  text.replace(/&(?:#x([0-9a-f]+)|#(\d+)|(\w+));/gi, (all, hex, number, name) =>
    name ? (entities[name] ?? all) : String.fromCodePoint(hex ? parseInt(hex, 16) : Number(number)),
  );

export class Pages {
  #cookies = new Map();

  /** `answers` holds username, password, code and the `userCode` of a device; `cancel: true` presses that button on the first page. */
  constructor(origin, answers) {
    this.origin = origin;
    this.answers = answers;
    this.shown = [];
  }

  /**
   * Until the browser would leave the authority. Gives `{ url, method, parameters }` of that request, or `{ status, text }` of
   * a page that leads nowhere. `shown` lists the forms that were answered on the way.
   */
  async go(url) {
    this.shown = [];
    let request = { url, method: 'GET' };
    // As many steps as a sign-in with all its pages could take, and some.
    for (let step = 0; step < 10; step++) {
      const { origin } = new URL(request.url);
      if (origin !== this.origin) {
        const { searchParams, hash } = new URL(request.url);
        const parameters = request.body ?? (hash ? new URLSearchParams(hash.slice(1)) : searchParams);
        return { url: request.url, method: request.method, parameters };
      }
      const response = await this.#send(request);
      if (response.status === 302 || response.status === 303) {
        request = { url: new URL(response.headers.get('location'), request.url).href, method: 'GET' };
        continue;
      }
      const text = await response.text();
      const form = response.ok && parse(text);
      if (!form) {
        return { status: response.status, text };
      }
      request = { url: new URL(form.action, request.url).href, method: 'POST', body: this.#fill(form) };
    }
    throw new Error(`no end: ${this.shown.join(', ')}`);
  }

  #fill({ action, fields }) {
    const page = new URL(action, this.origin).pathname.split('/').at(-1);
    const { username, password, code, userCode } = this.answers;
    const typed = {
      'sign-in': { username, password },
      mfa: { code },
      consent: { accept: '1' },
      deviceauth: { user_code: userCode },
      device: { continue: '1' },
    }[page];
    if (!typed || new URL(action, this.origin).origin !== this.origin) {
      return new URLSearchParams(fields);
    }
    this.shown.push(page);
    return new URLSearchParams([...fields, ...Object.entries(this.answers.cancel ? { cancel: '1' } : typed)]);
  }

  async #send({ url, method, body }) {
    const cookie = [...this.#cookies].map((pair) => pair.join('=')).join('; ');
    const response = await fetch(url, { method, body, redirect: 'manual', headers: cookie ? { cookie } : {} });
    for (const line of response.headers.getSetCookie()) {
      const [, name, value] = /^([^=]+)=([^;]*)/.exec(line);
      if (/max-age=0/i.test(line)) this.#cookies.delete(name);
      else this.#cookies.set(name, value);
    }
    return response;
  }
}

function parse(html) {
  const action = /<form method="post" action="([^"]*)"/.exec(html)?.[1];
  if (action === undefined) return null;
  const hidden = html.matchAll(/<input type="hidden" name="([^"]*)" value="([^"]*)">/g);
  return { action: decode(action), fields: [...hidden].map(([, name, value]) => [decode(name), decode(value)]) };
}
