// A real browser that knows the CA of this run, and a person in front of it.

import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { after } from 'node:test';
import { connect } from 'node:tls';
import { chromium as driver } from 'playwright-core';
import { known, users } from './harness.mjs';

const DEADLINE = 20_000;
const quiet = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

async function pin(origin) {
  const { hostname: host, port } = new URL(origin);
  const socket = connect({ host, port, servername: host });
  await once(socket, 'secureConnect');
  const key = socket.getPeerX509Certificate().publicKey.export({ type: 'spki', format: 'der' });
  socket.destroy();
  return createHash('sha256').update(key).digest('base64');
}

let launched;

async function launch() {
  return driver.launch({
    executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
    // Chromium reads no variable for a CA. It may take this one key, which has just been checked against the CA, and no other.
    args: [...quiet, `--ignore-certificate-errors-spki-list=${await pin(known.origin)}`],
  });
}

after(async () => (await launched)?.close());

/** Gives `run` a context of the file's one browser, without cookies, and takes it away again. */
export async function chromium(run) {
  launched ??= launch();
  const context = await (await launched).newContext();
  context.setDefaultTimeout(DEADLINE);
  try {
    return await run(context);
  } finally {
    await context.close();
  }
}

export async function signIn(page, username) {
  await page.getByLabel('Username').fill(users[username].username);
  await page.getByLabel('Password').fill(users[username].password);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

export async function secondFactor(page, username) {
  await page.getByLabel('One-time code').fill(users[username].otp);
  await page.getByRole('button', { name: 'Confirm' }).click();
}
