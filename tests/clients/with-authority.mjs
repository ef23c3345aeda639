// Starts an authority and the page of MSAL Browser, runs a command with what a client must know, stops both.
//
//     with-authority.mjs COMMAND [ARGUMENT...]
//
// AUTHORITY_BINARY is demo-services; CLIENTS_RUN a directory for this run's files, with those of certificates.py in it.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { appendFileSync, readFileSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { join } from 'node:path';
import { fixture, toml } from './fixture.mjs';
import { serveSpa } from './spa.mjs';

const { AUTHORITY_BINARY: binary, CLIENTS_RUN: directory } = process.env;
const START_DEADLINE = 20_000;
const RUN_DEADLINE = 600_000;
const file = (name) => join(directory, name);

// The page's port stands in the directory, so it is there first; its certificate is the one that the authority makes.
const spa = await serveSpa();
const tenant = fixture(spa.origin);
const control = randomBytes(24).toString('base64url');
writeFileSync(file('directory.toml'), toml(tenant), { mode: 0o600 });

const authority = spawn(
  binary,
  [
    ...['authority', '--directory', file('directory.toml'), '--listen', 'localhost:0'],
    ...['--https', '--ca-dir', file('ca'), '--control'],
  ],
  { env: { ...process.env, CONTROL_TOKEN: control }, stdio: ['ignore', 'pipe', 'pipe'] },
);
const log = [];
createInterface(authority.stderr).on('line', (line) => log.push(line));

let code = 1;
try {
  const url = await started();
  spa.certify({ cert: readFileSync(file('ca/localhost.pem')), key: readFileSync(file('ca/localhost-key.pem')) });
  const named = (list, key) => Object.fromEntries(list.map((entry) => [entry[key].split('@')[0], entry]));
  const authorityOfTenant = `${url}/${tenant.tenant.id}`;
  const known = {
    origin: url,
    tenant: tenant.tenant.id,
    authority: authorityOfTenant,
    issuer: `${authorityOfTenant}/v2.0`,
    spa: spa.origin,
    control,
    certificates: directory,
    users: named(tenant.users, 'username'),
    apps: named(tenant.apps, 'name'),
    policies: named(tenant.policies, 'name'),
  };
  spa.authority = url;
  spa.app = known.apps.spa.client_id;
  writeFileSync(file('fixture.json'), JSON.stringify(known), { mode: 0o600 });
  const ca = file('ca/ca.pem');
  const [command, ...rest] = process.argv.slice(2);
  // Node reads its variable at the start of the process, so it could not be set in the tests.
  const env = { ...process.env, NODE_EXTRA_CA_CERTS: ca, SSL_CERT_FILE: ca, REQUESTS_CA_BUNDLE: ca };
  const child = spawn(command, rest, { env: { ...env, CLIENTS_FIXTURE: file('fixture.json') }, stdio: 'inherit' });
  const deadline = setTimeout(() => child.kill('SIGKILL'), RUN_DEADLINE);
  [code] = await once(child, 'exit');
  clearTimeout(deadline);
} catch (error) {
  console.error(`with-authority: ${error.message}`);
} finally {
  authority.kill('SIGTERM');
  spa.close();
  appendFileSync(file('authority.log'), `${log.join('\n')}\n`);
}
process.exitCode = code ?? 1;

/** The URL that the authority prints once it listens. */
async function started() {
  const lines = createInterface(authority.stdout);
  const url = new Promise((resolve) => {
    lines.on('line', (line) => {
      const found = /^authority on (\S+);/.exec(line);
      if (found) resolve(found[1]);
    });
  });
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error('the authority does not start')), START_DEADLINE);
  });
  const ended = once(authority, 'exit').then(() => {
    throw new Error(`the authority has ended\n${log.join('\n')}`);
  });
  ended.catch(() => {});
  try {
    return await Promise.race([url, late, ended]);
  } finally {
    clearTimeout(timer);
  }
}
