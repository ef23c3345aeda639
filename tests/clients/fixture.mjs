// The directory of these tests: who signs in, which applications there are, what stands in the way.

import { randomBytes } from 'node:crypto';

const secret = () => randomBytes(24).toString('base64url');
const id = (last) => `c11e0000-0000-4000-8000-00000000${String(last).padStart(4, '0')}`;
const user = (username, more) => ({
  username: `${username}@contoso.example`,
  password: secret(),
  display_name: username,
  ...more,
});
const GRAPH = 'https://graph.microsoft.com';
const registered = { mfa: 'registered', otp: '123456' };

/** `spa` is the origin of the page that MSAL Browser runs on. */
export function fixture(spa) {
  return {
    tenant: { id: '11111111-2222-3333-4444-555555555555', domain: 'contoso.example' },
    users: [
      user('alice', registered),
      // Nothing but her sessions are revoked, so nobody else's tests notice.
      user('rita', registered),
      user('carol', {}),
      // Changes his own profile.
      user('bob', registered),
    ],
    apps: [
      {
        name: 'web',
        client_id: id(1),
        redirect_uris: { web: ['http://localhost:3000/callback'] },
        secrets: [secret()],
        delegated: ['api://middle/access', `${GRAPH}/User.Read`, `${GRAPH}/User.ReadWrite`],
      },
      {
        name: 'spa',
        client_id: id(2),
        redirect_uris: { spa: [`${spa}/`, `${spa}/redirect`] },
        delegated: ['api://middle/access', `${GRAPH}/User.Read`],
      },
      {
        name: 'native',
        client_id: id(3),
        redirect_uris: { native: ['http://localhost', 'http://localhost/done'] },
        secrets: [secret()],
        delegated: ['api://middle/access'],
      },
      {
        name: 'device',
        client_id: id(12),
        public_client: true,
        delegated: ['api://middle/access'],
      },
      {
        name: 'asking',
        client_id: id(4),
        redirect_uris: { web: ['http://localhost:3000/asking'] },
        secrets: [secret()],
        delegated: ['api://middle/access'],
        consent: 'required',
      },
      {
        name: 'middle',
        client_id: id(5),
        identifier_uris: ['api://middle'],
        scopes: ['access', 'nobody.asks'],
        secrets: [secret()],
        certificates: ['middle.pem'],
        optional_claims: ['acrs', 'idtyp', 'xms_cc'],
        delegated: ['api://plain/read', 'api://strict/read', 'api://closed/read', 'api://old/read', `${GRAPH}/User.Read`],
      },
      { name: 'plain', client_id: id(6), identifier_uris: ['api://plain'], scopes: ['read'], app_roles: ['Task.Run'] },
      { name: 'strict', client_id: id(7), identifier_uris: ['api://strict'], scopes: ['read'], optional_claims: ['acrs'] },
      { name: 'closed', client_id: id(8), identifier_uris: ['api://closed'], scopes: ['read'] },
      { name: 'elsewhere', client_id: id(9), identifier_uris: ['api://elsewhere'], scopes: ['read'] },
      { name: 'old', client_id: id(11), identifier_uris: ['api://old'], scopes: ['read'], access_token_version: 1 },
      {
        name: 'daemon',
        client_id: id(10),
        secrets: [secret()],
        certificates: ['daemon.pem'],
        app_permissions: ['api://plain/Task.Run'],
      },
    ],
    policies: [
      { id: id(21), name: 'MFA for strict', app: 'strict', require: 'mfa' },
      { id: id(22), name: 'Nobody uses closed', app: 'closed', require: 'block' },
      { id: id(23), name: 'Step-up for c1', auth_context: 'c1', require: 'mfa' },
    ],
  };
}

/** As the authority reads it. A JSON string, number or list of strings is TOML as well. */
export function toml(directory) {
  const line = ([key, value]) =>
    `${key} = ${key === 'redirect_uris' ? `{ ${Object.entries(value).map(line).join(', ')} }` : JSON.stringify(value)}`;
  const table = (header) => (entries) => [header, ...Object.entries(entries).map(line), ''].join('\n');
  return [
    table('[tenant]')(directory.tenant),
    ...directory.users.map(table('[[users]]')),
    ...directory.apps.map(table('[[apps]]')),
    ...directory.policies.map(table('[[policies]]')),
  ].join('\n');
}
