// What every Node client's tests need: the fixture of this run, its certificates, the authority's control endpoint, a user's pages.

import { createHash, X509Certificate } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Pages } from './pages.mjs';

export const known = JSON.parse(readFileSync(process.env.CLIENTS_FIXTURE));
export const { apps, users } = known;
export const host = new URL(known.origin).host;

export const ACCESS = 'api://middle/access';
export const PLAIN = 'api://plain/read';
export const STRICT = 'api://strict/read';
export const CLOSED = 'api://closed/read';
export const USER_READ = 'https://graph.microsoft.com/User.Read';
export const OLD = 'api://old/read';
export const ELSEWHERE = 'api://elsewhere/read';
/** What an API that wants a step-up asks for. */
export const C1 = JSON.stringify({ access_token: { acrs: { essential: true, value: 'c1' } } });

/** A browser of this user's, without a session. */
export const browser = (username, more) =>
  new Pages(known.origin, {
    username: users[username].username,
    password: users[username].password,
    code: users[username].otp,
    ...more,
  });

/** A command to the authority. */
export async function control(command) {
  const response = await fetch(`${known.origin}/control`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-control': known.control },
    body: JSON.stringify(command),
  });
  if (!response.ok) throw new Error(`control: ${response.status} ${await response.text()}`);
  return response.json();
}

/** Runs something while the authority's clock is off. */
export async function skewed(seconds, run) {
  await control({ do: 'skew', seconds });
  try {
    return await run();
  } finally {
    await control({ do: 'skew', seconds: 0 });
  }
}

/** A client certificate of this run, with its private key and its thumbprints in hex. */
export function certificate(name) {
  const pem = readFileSync(join(known.certificates, `${name}.pem`), 'utf8');
  const { raw } = new X509Certificate(pem);
  const thumbprint = (hash) => createHash(hash).update(raw).digest('hex').toUpperCase();
  return {
    pem,
    key: readFileSync(join(known.certificates, `${name}.key`), 'utf8'),
    sha1: thumbprint('sha1'),
    sha256: thumbprint('sha256'),
  };
}

/** The claims of a token, unchecked. */
export const claims = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
