// @azure/msal-browser in Chromium, on a page of its own over https, in both protocol modes.

import assert from 'node:assert/strict';
import { chromium, secondFactor, signIn } from './chromium.mjs';
import { flow } from './flows.mjs';
import { ACCESS, C1, STRICT, apps, claims, control, known, users } from './harness.mjs';
import { exchanged } from './tokens.mjs';

/** The functions below run in the page; `client`, `answer`, `failure` and `plain` are those of spa/app.js. */
/* global client, answer, failure, plain, location, sessionStorage */

for (const mode of ['AAD', 'OIDC']) {
  const column = `msal-browser ${mode}`;
  const inChromium = (id, run) =>
    flow(column, id, () =>
      chromium(async (context) => {
        await run(await open(context), context);
      }),
    );

  async function open(context, tenant = known.tenant) {
    const page = await context.newPage();
    await page.goto(`${known.spa}/?mode=${mode}&tenant=${tenant}`);
    await state(page, 'ready');
    return page;
  }

  const state = (page, text) => page.locator('#state', { hasText: text }).waitFor();

  /** Leaves the page, so there is nothing to wait for but the next one. */
  const leave = (page, call, request) =>
    page.evaluate(([call, request]) => void client[call](request), [call, request]);

  async function signedIn(page, username = 'alice') {
    await leave(page, 'loginRedirect', { scopes: [ACCESS] });
    await signIn(page, username);
    await state(page, 'answered');
    return page.evaluate(() => answer);
  }

  /** A silent call: what it gives, or the error that it ends with. */
  const silent = (page, call, request) =>
    page.evaluate(
      ([call, request]) =>
        client[call]({ account: client.getAllAccounts()[0], redirectUri: `${location.origin}/redirect`, ...request }).catch(
          (error) => ({ error: plain(error) }),
        ),
      [call, { scopes: [ACCESS], ...request }],
    );

  inChromium('sign-in-fragment', async (page) => {
    const result = await signedIn(page);
    assert.equal(result.account.username, users.alice.username);
    assert.equal(result.account.homeAccountId, `${result.account.localAccountId}.${known.tenant}`);
    const { aud, scp, azpacr, xms_cc } = claims(result.accessToken);
    assert.deepEqual([aud, scp, azpacr, xms_cc], [apps.middle.client_id, 'access', '0', ['cp1']]);
  });

  inChromium('common', async (_, context) => {
    const page = await open(context, 'common');
    const first = await signedIn(page);
    assert.equal(first.tenantId, known.tenant);
    assert.equal((await silent(page, 'acquireTokenSilent')).fromCache, true);
    assert.equal((await silent(page, 'acquireTokenSilent', { forceRefresh: true })).fromCache, false);
  });

  inChromium('graph', async (page) => {
    await leave(page, 'loginRedirect', { scopes: ['User.Read'] });
    await signIn(page, 'alice');
    await state(page, 'answered');
    const me = await page.evaluate(async (url) => {
      const headers = { authorization: `Bearer ${answer.accessToken}` };
      return (await fetch(url, { headers })).json();
    }, `${known.origin}/v1.0/me`);
    assert.equal(me.userPrincipalName, users.alice.username);
    assert.equal((await silent(page, 'acquireTokenSilent', { scopes: ['User.Read'] })).fromCache, true);
  });

  inChromium('cache', async (page) => {
    const first = await signedIn(page);
    const before = await control({ do: 'counters' });
    const second = await silent(page, 'acquireTokenSilent');
    assert.equal(second.fromCache, true);
    assert.equal(second.accessToken, first.accessToken);
    assert.equal((await control({ do: 'counters' })).token, before.token);
  });

  inChromium('refresh', async (page) => {
    const stored = () =>
      page.evaluate(() => Object.entries(sessionStorage).filter(([key]) => key.includes('refreshtoken')).map(([, value]) => value));
    const first = await signedIn(page);
    const old = await stored();
    const before = await control({ do: 'counters' });
    const second = await silent(page, 'acquireTokenSilent', { forceRefresh: true });
    assert.equal(second.fromCache, false, JSON.stringify(second));
    assert.notEqual(second.accessToken, first.accessToken);
    const after = await control({ do: 'counters' });
    // By the refresh token, not through the frame.
    assert.deepEqual([after.token - before.token, after.authorize - before.authorize], [1, 0]);
    assert.equal(old.length, 1);
    assert.notDeepEqual(await stored(), old);
  });

  inChromium('sso', async (page, context) => {
    await signedIn(page);
    // Another tab shares the authority's session and nothing of MSAL's.
    const other = await open(context);
    const result = await silent(other, 'ssoSilent', { account: undefined, loginHint: users.alice.username });
    assert.equal(result.account?.username, users.alice.username, JSON.stringify(result));
  });

  inChromium('step-up', async (page) => {
    const before = await signedIn(page);
    assert.equal(claims(before.accessToken).acrs, undefined);
    await leave(page, 'acquireTokenRedirect', { scopes: [ACCESS], claims: C1 });
    await secondFactor(page, 'alice');
    await state(page, 'answered');
    const after = await page.evaluate(() => answer);
    assert.deepEqual(claims(after.accessToken).acrs, ['c1']);
  });

  inChromium('obo-after-step-up', async (page) => {
    const weak = await signedIn(page);
    await assert.rejects(exchanged(weak.accessToken, STRICT), /AADSTS50076/);
    const values = [known.policies['MFA for strict'].id];
    const challenge = JSON.stringify({ access_token: { capolids: { essential: true, values } } });
    await leave(page, 'acquireTokenRedirect', { scopes: [ACCESS], claims: challenge });
    await secondFactor(page, 'alice');
    await state(page, 'answered');
    const strong = await page.evaluate(() => answer);
    assert.equal(claims(await exchanged(strong.accessToken, STRICT)).aud, apps.strict.client_id);
  });

  inChromium('logout', async (page, context) => {
    await signedIn(page);
    await page.evaluate(() => void client.logoutRedirect({ account: client.getAllAccounts()[0] }));
    await state(page, 'ready');
    assert.equal(await page.evaluate(() => client.getAllAccounts().length), 0);
    assert.deepEqual((await context.cookies(known.origin)).filter(({ value }) => value), []);
    const { error } = await silent(page, 'ssoSilent', { account: undefined, loginHint: users.alice.username });
    assert.deepEqual([error.name, error.code], ['InteractionRequiredAuthError', 'login_required']);
  });

  inChromium('refresh-revoked', async (page) => {
    await signedIn(page, 'rita');
    await control({ do: 'revoke', user: 'rita' });
    const before = await control({ do: 'counters' });
    const { error } = await silent(page, 'acquireTokenSilent', { forceRefresh: true });
    const after = await control({ do: 'counters' });
    // MSAL keeps the answer to the refresh token (50173 with claims) to itself and tries the frame, where no session is left.
    assert.deepEqual([after.token - before.token, after.authorize - before.authorize], [1, 1]);
    assert.deepEqual([error.name, error.code], ['InteractionRequiredAuthError', 'login_required']);
    await leave(page, 'acquireTokenRedirect', { scopes: [ACCESS] });
    await signIn(page, 'rita');
    await state(page, 'answered');
  });

  inChromium('refresh-context', async (page) => {
    await signedIn(page);
    const { error } = await silent(page, 'acquireTokenSilent', { claims: C1 });
    assert.deepEqual([error?.name, error?.code], ['InteractionRequiredAuthError', 'interaction_required']);
    assert.equal(error.claims, C1);
  });

  inChromium('user-cancels', async (page) => {
    await leave(page, 'loginRedirect', { scopes: [ACCESS] });
    await page.getByRole('button', { name: 'Cancel' }).click();
    await state(page, 'failed');
    const error = await page.evaluate(() => failure);
    assert.deepEqual([error.name, error.code], ['ServerError', 'access_denied']);
    assert.match(error.message, /AADSTS65004/);
  });

  inChromium('silent-signed-out', async (page) => {
    const { error } = await silent(page, 'ssoSilent', { account: undefined, loginHint: users.alice.username });
    assert.deepEqual([error.name, error.code], ['InteractionRequiredAuthError', 'login_required']);
  });

  inChromium('silent-context', async (page, context) => {
    await signedIn(page);
    const other = await open(context);
    const { error } = await silent(other, 'ssoSilent', { account: undefined, loginHint: users.alice.username, claims: C1 });
    assert.deepEqual([error.name, error.code, error.claims], ['InteractionRequiredAuthError', 'interaction_required', C1]);
  });

  inChromium('wrong-redirect', async (page) => {
    await leave(page, 'loginRedirect', { scopes: [ACCESS], redirectUri: `${known.spa}/elsewhere` });
    await page.getByText('AADSTS50011').waitFor();
    assert.ok(page.url().startsWith(known.authority));
  });

  inChromium('unknown-scope', async (page) => {
    await leave(page, 'loginRedirect', { scopes: ['api://middle/no.such'] });
    await state(page, 'failed');
    const error = await page.evaluate(() => failure);
    assert.match(error.message, /AADSTS650053/);
  });

  inChromium('wrong-state', async (page) => {
    // An answer that this page has not asked for.
    await page.goto(`${known.spa}/#code=of-somebody-else&state=${btoa('{"id":"of-somebody-else"}')}`);
    await page.reload();
    await page.locator('#state', { hasText: /ready|failed/ }).waitFor();
    assert.equal(await page.evaluate(() => client.getAllAccounts().length), 0);
    assert.equal(await page.evaluate(() => answer), null);
  });
}
