// Tokens without a client library: for APIs that are under test, and for moments that a client library would refuse.

import { createHash, generateKeyPairSync, randomBytes, sign } from 'node:crypto';
import { ACCESS, apps, browser, known } from './harness.mjs';

async function post(parameters) {
  const response = await fetch(`${known.authority}/oauth2/v2.0/token`, { method: 'POST', body: new URLSearchParams(parameters) });
  const body = await response.json();
  if (!response.ok) throw new Error(body.error_description);
  return body.access_token;
}

/** A user's token by way of the web application. */
export async function userToken(username, scope = ACCESS) {
  const verifier = randomBytes(32).toString('base64url');
  const [redirect_uri] = apps.web.redirect_uris.web;
  const client = { client_id: apps.web.client_id, redirect_uri };
  const query = new URLSearchParams({
    ...client,
    response_type: 'code',
    scope,
    code_challenge: createHash('sha256').update(verifier).digest('base64url'),
    code_challenge_method: 'S256',
  });
  const { parameters } = await browser(username).go(`${known.authority}/oauth2/v2.0/authorize?${query}`);
  return post({
    ...client,
    grant_type: 'authorization_code',
    client_secret: apps.web.secrets[0],
    code: parameters.get('code'),
    code_verifier: verifier,
  });
}

/** A token of the middle tier for a user, for another API. */
export const exchanged = (assertion, scope) =>
  post({
    grant_type: 'urn:ietf:params:oauth:grant-type:jwt-bearer',
    requested_token_use: 'on_behalf_of',
    client_id: apps.middle.client_id,
    client_secret: apps.middle.secrets[0],
    assertion,
    scope,
  });

/** A token without a user. */
export const appToken = (scope) =>
  post({
    grant_type: 'client_credentials',
    client_id: apps.daemon.client_id,
    client_secret: apps.daemon.secrets[0],
    scope,
  });

/** The same header and claims, `kid` included, under a key that nobody has published. */
export function signedBySomebodyElse(token) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const signed = token.split('.').slice(0, 2).join('.');
  const signature = sign('sha256', Buffer.from(signed), privateKey);
  return `${signed}.${signature.toString('base64url')}`;
}
