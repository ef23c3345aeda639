// The page of MSAL Browser over https: two HTML files and two bundles of the package, unchanged.

import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:https';
import { dirname, join } from 'node:path';

const library = join(dirname(createRequire(import.meta.url).resolve('@azure/msal-browser/package.json')), 'lib');
const own = (name) => readFileSync(new URL(`spa/${name}`, import.meta.url));
const html = 'text/html; charset=utf-8';
const script = 'text/javascript; charset=utf-8';

/** Listens at once; `certify`, and `authority` and `app` of what this gives, come before the first request. */
export async function serveSpa() {
  const spa = {};
  const routes = {
    '/': () => [html, own('index.html')],
    '/redirect': () => [html, own('redirect.html')],
    '/app.js': () => [script, own('app.js')],
    '/redirect.js': () => [script, own('redirect.js')],
    '/msal.js': () => [script, readFileSync(join(library, 'msal-browser.min.js'))],
    '/redirect-bridge.js': () => [script, readFileSync(join(library, 'redirect-bridge/msal-redirect-bridge.min.js'))],
    '/configuration.js': () => [
      script,
      `const configuration = ${JSON.stringify({ origin: spa.authority, clientId: spa.app })};`,
    ],
  };
  const server = createServer((request, response) => {
    const route = routes[new URL(request.url, spa.origin).pathname];
    const [type, body] = route ? route() : ['text/plain', 'not found'];
    response.writeHead(route ? 200 : 404, { 'content-type': type, 'cache-control': 'no-store' }).end(body);
  });
  server.listen(0, 'localhost');
  await once(server, 'listening');
  spa.origin = `https://localhost:${server.address().port}`;
  spa.certify = (tls) => server.setSecureContext(tls);
  spa.close = () => {
    server.close();
    server.closeAllConnections();
  };
  return spa;
}
