// @azure/msal-node, in both protocol modes.

import assert from 'node:assert/strict';
import {
  ConfidentialClientApplication,
  CryptoProvider,
  InteractionRequiredAuthError,
  PublicClientApplication,
  ServerError,
} from '@azure/msal-node';
import { chromium, signIn } from './chromium.mjs';
import { flow } from './flows.mjs';
import { ACCESS, C1, CLOSED, ELSEWHERE, PLAIN, STRICT } from './harness.mjs';
import { apps, browser, certificate, claims, control, host, known, skewed, users } from './harness.mjs';

const crypto = new CryptoProvider();

/** What the local authority needs: its host with the port in `knownAuthorities`. */
const modes = {
  'msal-node AAD': { authority: known.authority, protocolMode: 'AAD' },
  'msal-node OIDC': { authority: known.issuer, protocolMode: 'OIDC' },
};

for (const [column, { authority, protocolMode }] of Object.entries(modes)) {
  const configuration = (app, auth) => ({
    auth: { clientId: app.client_id, authority, knownAuthorities: [host], ...auth },
    system: { protocolMode },
  });
  const confidential = (app, auth = { clientSecret: app.secrets[0] }) =>
    new ConfidentialClientApplication(configuration(app, auth));
  const ps256 = (name) => {
    const { sha256, key, pem } = certificate(name);
    return { clientCertificate: { thumbprintSha256: sha256, privateKey: key, x5c: pem } };
  };
  const rs256 = (name) => {
    const { sha1, key } = certificate(name);
    return { clientCertificate: { thumbprint: sha1, privateKey: key } };
  };

  /** A request with everything a careful application sends, and what it must keep until the answer. */
  async function ask(client, more = {}) {
    const { verifier, challenge } = await crypto.generatePkceCodes();
    const request = {
      scopes: [ACCESS],
      redirectUri: apps.web.redirect_uris.web[0],
      responseMode: 'query',
      state: crypto.createNewGuid(),
      nonce: crypto.createNewGuid(),
      codeChallenge: challenge,
      codeChallengeMethod: 'S256',
      ...more,
    };
    return { request, verifier, url: await client.getAuthCodeUrl(request) };
  }

  const redeem = (client, { request, verifier }, parameters, more = {}) => {
    const { scopes, redirectUri, state, nonce, claims: wanted } = request;
    const { code, state: returned, ...rest } = Object.fromEntries(parameters);
    return client.acquireTokenByCode(
      { scopes, redirectUri, state, nonce, claims: wanted, code, codeVerifier: verifier, ...more },
      { code, state: returned, ...rest },
    );
  };

  async function signedIn(client, pages, more) {
    const asked = await ask(client, more);
    const { parameters } = await pages.go(asked.url);
    return redeem(client, asked, parameters);
  }

  /** A user's token for the middle tier. */
  const tokenOf = async (username, more) => (await signedIn(confidential(apps.web), browser(username), more)).accessToken;
  const onBehalfOf = (client, oboAssertion, scope, more) =>
    client.acquireTokenOnBehalfOf({ oboAssertion, scopes: [scope], ...more });

  const refused = (errorClass, number, more = {}) => (error) => {
    assert.ok(error instanceof errorClass, `${error?.name}: ${error?.message}`);
    assert.equal(Number(error.errorNo), number, error.message);
    for (const [key, value] of Object.entries(more)) assert.deepEqual(error[key], value, key);
    return true;
  };

  for (const mode of ['query', 'form_post']) {
    flow(column, `sign-in-${mode.replace('_', '-')}`, async () => {
      const client = confidential(apps.web);
      const asked = await ask(client, { responseMode: mode });
      const { method, parameters } = await browser('alice').go(asked.url);
      assert.equal(method, mode === 'query' ? 'GET' : 'POST');
      assert.equal(parameters.get('state'), asked.request.state);
      const result = await redeem(client, asked, parameters);
      const { homeAccountId, localAccountId, username } = result.account;
      assert.equal(username, users.alice.username);
      assert.equal(homeAccountId, `${localAccountId}.${known.tenant}`);
      assert.equal(claims(result.accessToken).aud, apps.middle.client_id);
      assert.equal(claims(result.accessToken).scp, 'access');
    });
  }

  flow(column, 'loopback', async () => {
    const client = new PublicClientApplication(configuration(apps.native));
    await chromium(async (context) => {
      const page = await context.newPage();
      const result = await client.acquireTokenInteractive({
        scopes: [ACCESS],
        openBrowser: async (url) => {
          await page.goto(url);
          await signIn(page, 'alice');
        },
        successTemplate: 'signed in',
        errorTemplate: 'not signed in',
      });
      assert.equal(result.account.username, users.alice.username);
      assert.equal(claims(result.accessToken).azpacr, '0');
    });
  });

  flow(column, 'device-code', async () => {
    const client = new PublicClientApplication(configuration(apps.device));
    let person;
    const result = await client.acquireTokenByDeviceCode({
      scopes: [ACCESS],
      deviceCodeCallback: ({ userCode, verificationUri, message }) => {
        assert.ok(message.includes(userCode) && message.includes(verificationUri));
        const pages = browser('alice', { userCode });
        person = pages.go(verificationUri).then(({ status }) => ({ status, shown: pages.shown }));
      },
    });
    assert.deepEqual(await person, { status: 200, shown: ['deviceauth', 'sign-in', 'device'] });
    assert.equal(result.account.username, users.alice.username);
    const { azp, azpacr, scp } = claims(result.accessToken);
    assert.deepEqual([azp, azpacr, scp], [apps.device.client_id, '0', 'access']);
    const { account } = result;
    await client.acquireTokenSilent({ account, scopes: [ACCESS], forceRefresh: true });
  });

  flow(column, 'common', async () => {
    const common = authority.replace(known.tenant, 'common');
    const client = confidential(apps.web, { clientSecret: apps.web.secrets[0], authority: common });
    const first = await signedIn(client, browser('alice'));
    assert.equal(first.tenantId, known.tenant);
    assert.equal(claims(first.accessToken).iss, known.issuer);
    const { account } = first;
    assert.equal((await client.acquireTokenSilent({ account, scopes: [ACCESS] })).fromCache, true);
    await client.acquireTokenSilent({ account, scopes: [ACCESS], forceRefresh: true });
  });

  flow(column, 'consent', async () => {
    const client = confidential(apps.asking);
    const pages = browser('alice');
    const asked = await ask(client, { redirectUri: apps.asking.redirect_uris.web[0], prompt: 'consent' });
    const { parameters } = await pages.go(asked.url);
    assert.deepEqual(pages.shown, ['sign-in', 'consent']);
    const result = await redeem(client, asked, parameters);
    assert.ok(result.scopes.includes(ACCESS));
  });

  flow(column, 'cache', async () => {
    const client = confidential(apps.web);
    const first = await signedIn(client, browser('alice'));
    const before = await control({ do: 'counters' });
    const second = await client.acquireTokenSilent({ account: first.account, scopes: [ACCESS] });
    assert.equal(second.fromCache, true);
    assert.equal(second.accessToken, first.accessToken);
    assert.equal((await control({ do: 'counters' })).token, before.token);
  });

  flow(column, 'refresh', async () => {
    const client = confidential(apps.web);
    const first = await signedIn(client, browser('alice'));
    const stored = () => Object.values(JSON.parse(client.getTokenCache().serialize()).RefreshToken).map((entry) => entry.secret);
    const [old] = stored();
    const second = await client.acquireTokenSilent({ account: first.account, scopes: [ACCESS], forceRefresh: true });
    assert.equal(second.fromCache, false);
    assert.notEqual(second.accessToken, first.accessToken);
    assert.equal(stored().length, 1);
    assert.notEqual(stored()[0], old);
    // And again, with the new one.
    await client.acquireTokenSilent({ account: first.account, scopes: [ACCESS], forceRefresh: true });
  });

  flow(column, 'sso', async () => {
    const client = confidential(apps.web);
    const pages = browser('alice');
    await signedIn(client, pages);
    const result = await signedIn(client, pages, { prompt: 'none' });
    assert.deepEqual(pages.shown, []);
    assert.equal(result.account.username, users.alice.username);
  });

  flow(column, 'step-up', async () => {
    const client = confidential(apps.web);
    const pages = browser('alice');
    const before = await signedIn(client, pages);
    assert.deepEqual(pages.shown, ['sign-in']);
    assert.equal(claims(before.accessToken).acrs, undefined);
    const after = await signedIn(client, pages, { claims: C1 });
    assert.deepEqual(pages.shown, ['mfa']);
    assert.deepEqual(claims(after.accessToken).acrs, ['c1']);
  });

  for (const [id, credential] of Object.entries({
    'obo-secret': undefined,
    'obo-ps256': ps256,
    'obo-rs256': rs256,
  })) {
    flow(column, id, async () => {
      const client = confidential(apps.middle, credential?.('middle'));
      const assertion = await tokenOf('alice');
      const result = await onBehalfOf(client, assertion, PLAIN);
      const { aud, scp, azp, azpacr, oid } = claims(result.accessToken);
      assert.deepEqual([aud, scp, azp], [apps.plain.client_id, 'read', apps.middle.client_id]);
      assert.equal(azpacr, credential ? '2' : '1');
      assert.equal(oid, claims(assertion).oid);
      assert.equal((await onBehalfOf(client, assertion, PLAIN)).fromCache, true);
    });
  }

  flow(column, 'graph', async () => {
    const client = confidential(apps.web);
    const { accessToken, account } = await signedIn(client, browser('alice'), { scopes: ['User.Read'] });
    const response = await fetch(`${known.origin}/v1.0/me`, { headers: { authorization: `Bearer ${accessToken}` } });
    assert.equal((await response.json()).userPrincipalName, users.alice.username);
    assert.equal((await client.acquireTokenSilent({ account, scopes: ['User.Read'] })).fromCache, true);
  });

  flow(column, 'obo-after-step-up', async () => {
    const client = confidential(apps.web);
    const middle = confidential(apps.middle);
    const pages = browser('alice');
    const weak = await signedIn(client, pages);
    const challenge = await onBehalfOf(middle, weak.accessToken, STRICT).catch((error) => error.claims);
    const strong = await signedIn(client, pages, { claims: challenge });
    assert.deepEqual(pages.shown, ['mfa']);
    const result = await onBehalfOf(middle, strong.accessToken, STRICT);
    assert.equal(claims(result.accessToken).aud, apps.strict.client_id);
    // The old token has not become better.
    await assert.rejects(onBehalfOf(middle, weak.accessToken, STRICT), InteractionRequiredAuthError);
  });

  for (const [id, credential] of Object.entries({ 'app-secret': undefined, 'app-ps256': ps256, 'app-rs256': rs256 })) {
    flow(column, id, async () => {
      const client = confidential(apps.daemon, credential?.('daemon'));
      const scopes = ['api://plain/.default'];
      const result = await client.acquireTokenByClientCredential({ scopes });
      const { roles, scp, azpacr } = claims(result.accessToken);
      assert.deepEqual([roles, scp, azpacr], [['Task.Run'], undefined, credential ? '2' : '1']);
      assert.equal((await client.acquireTokenByClientCredential({ scopes })).fromCache, true);
    });
  }

  /** A call by an application whose settings are these. */
  const daemonWith = (settings) =>
    confidential(apps.daemon, { clientSecret: apps.daemon.secrets[0], ...settings }).acquireTokenByClientCredential({
      scopes: ['api://plain/.default'],
    });
  // Instead of `knownAuthorities`: what the public cloud's instance discovery would say.
  const cloudDiscoveryMetadata = JSON.stringify({
    tenant_discovery_endpoint: `${known.issuer}/.well-known/openid-configuration`,
    'api-version': '1.1',
    metadata: [{ preferred_network: host, preferred_cache: host, aliases: [host] }],
  });

  flow(column, 'setting', async () => {
    const byDomain = authority.replace(known.tenant, 'contoso.example');
    for (const settings of [
      { authority: `${authority}/` },
      { authority: byDomain },
      // With or without /v2.0, whatever the mode.
      { authority: known.issuer },
      { authority: known.authority },
      { knownAuthorities: [known.origin] },
      { knownAuthorities: [], cloudDiscoveryMetadata },
    ]) {
      assert.ok((await daemonWith(settings)).accessToken, JSON.stringify(settings));
    }
  });

  flow(column, 'wrong-setting', async () => {
    for (const [settings, reason] of [
      [{ authority: authority.replace('https', 'http') }, /authority_uri_insecure/],
      [{ authority: authority.replace(known.tenant, known.tenant.replaceAll('1', '9')) }, /endpoints_resolution_error/],
      [{ authority: authority.replace(known.tenant, 'common') }, /missing_tenant_id_error/],
      [{ knownAuthorities: [], cloudDiscoveryMetadata: '{' }, /invalid_cloud_discovery_metadata/],
    ]) {
      await assert.rejects(async () => daemonWith(settings), reason);
    }
  });

  flow(column, 'obo-mfa', async () => {
    const assertion = await tokenOf('alice');
    await assert.rejects(
      onBehalfOf(confidential(apps.middle), assertion, STRICT),
      refused(InteractionRequiredAuthError, 50076, {
        errorCode: 'interaction_required',
        subError: 'basic_action',
        claims: JSON.stringify({
          access_token: { capolids: { essential: true, values: [known.policies['MFA for strict'].id] } },
        }),
      }),
    );
  });

  flow(column, 'obo-context', async () => {
    const assertion = await tokenOf('alice');
    await assert.rejects(
      onBehalfOf(confidential(apps.middle), assertion, PLAIN, { claims: C1 }),
      refused(InteractionRequiredAuthError, 50076, { claims: C1, subError: 'basic_action' }),
    );
  });

  flow(column, 'obo-unregistered', async () => {
    const assertion = await tokenOf('carol');
    await assert.rejects(
      onBehalfOf(confidential(apps.middle), assertion, STRICT),
      refused(InteractionRequiredAuthError, 50079, { subError: 'basic_action' }),
    );
  });

  flow(column, 'obo-blocked', async () => {
    const assertion = await tokenOf('alice');
    await assert.rejects(
      onBehalfOf(confidential(apps.middle), assertion, CLOSED),
      refused(InteractionRequiredAuthError, 53003, { subError: 'message_only', claims: '' }),
    );
  });

  flow(column, 'obo-consent', async () => {
    const assertion = await tokenOf('alice');
    await assert.rejects(
      onBehalfOf(confidential(apps.middle), assertion, ELSEWHERE),
      refused(InteractionRequiredAuthError, 65001, { subError: 'consent_required' }),
    );
  });

  flow(column, 'obo-expired', async () => {
    const assertion = await skewed(-2 * 3600, () => tokenOf('alice'));
    await assert.rejects(
      onBehalfOf(confidential(apps.middle), assertion, PLAIN),
      refused(ServerError, 500133, { errorCode: 'invalid_grant' }),
    );
  });

  flow(column, 'obo-audience', async () => {
    const middle = confidential(apps.middle);
    const other = (await onBehalfOf(middle, await tokenOf('alice'), PLAIN)).accessToken;
    await assert.rejects(onBehalfOf(middle, other, PLAIN), refused(ServerError, 500131));
  });

  flow(column, 'obo-revoked', async () => {
    const assertion = await tokenOf('rita');
    await control({ do: 'revoke', user: 'rita' });
    await assert.rejects(onBehalfOf(confidential(apps.middle), assertion, PLAIN), (error) => {
      refused(InteractionRequiredAuthError, 50173, { subError: 'bad_token' })(error);
      return JSON.parse(error.claims).access_token.nbf.essential;
    });
  });

  flow(column, 'refresh-revoked', async () => {
    const client = confidential(apps.web);
    const pages = browser('rita');
    const { account } = await signedIn(client, pages);
    await control({ do: 'revoke', user: 'rita' });
    let challenge;
    await assert.rejects(client.acquireTokenSilent({ account, scopes: [ACCESS], forceRefresh: true }), (error) => {
      challenge = error.claims;
      return refused(InteractionRequiredAuthError, 50173, { subError: 'bad_token' })(error);
    });
    // The way out: sign in again with these claims.
    await signedIn(client, pages, { claims: challenge });
    assert.deepEqual(pages.shown, ['sign-in']);
  });

  flow(column, 'refresh-context', async () => {
    const client = confidential(apps.web);
    const { account } = await signedIn(client, browser('alice'));
    await assert.rejects(
      client.acquireTokenSilent({ account, scopes: [ACCESS], claims: C1 }),
      refused(InteractionRequiredAuthError, 50076, { claims: C1 }),
    );
  });

  flow(column, 'wrong-secret', async () => {
    const client = confidential(apps.daemon, { clientSecret: 'not-the-secret-of-the-daemon' });
    await assert.rejects(
      client.acquireTokenByClientCredential({ scopes: ['api://plain/.default'] }),
      refused(ServerError, 7000215, { errorCode: 'invalid_client', status: 401 }),
    );
  });

  flow(column, 'no-credential', async () => {
    // A public client object with the id of a confidential one.
    const client = new PublicClientApplication(configuration(apps.web));
    const asked = await ask(client);
    const { parameters } = await browser('alice').go(asked.url);
    await assert.rejects(redeem(client, asked, parameters), refused(ServerError, 7000218));
  });

  flow(column, 'wrong-certificate', async () => {
    const client = confidential(apps.daemon, ps256('middle'));
    await assert.rejects(
      client.acquireTokenByClientCredential({ scopes: ['api://plain/.default'] }),
      refused(ServerError, 700027, { errorCode: 'invalid_client' }),
    );
  });

  flow(column, 'public-with-secret', async () => {
    const client = confidential(apps.native);
    const asked = await ask(client, { redirectUri: 'http://localhost:50999' });
    const { parameters } = await browser('alice').go(asked.url);
    await assert.rejects(redeem(client, asked, parameters), refused(ServerError, 700025));
  });

  flow(column, 'unknown-client', async () => {
    const client = confidential({ client_id: 'c11e0000-0000-4000-8000-00000000ffff', secrets: ['of-nobody-known'] });
    await assert.rejects(
      client.acquireTokenByClientCredential({ scopes: ['api://plain/.default'] }),
      refused(ServerError, 700016, { errorCode: 'unauthorized_client' }),
    );
  });

  flow(column, 'wrong-redirect', async () => {
    const { url } = await ask(confidential(apps.web), { redirectUri: 'http://localhost:3000/callback/' });
    const { status, text } = await browser('alice').go(url);
    assert.equal(status, 400);
    assert.match(text, /AADSTS50011/);
  });

  flow(column, 'code-reused', async () => {
    const client = confidential(apps.web);
    const asked = await ask(client);
    const { parameters } = await browser('alice').go(asked.url);
    const { account } = await redeem(client, asked, parameters);
    await assert.rejects(redeem(client, asked, parameters), refused(ServerError, 54005));
    // What came of the code has ended with it.
    await assert.rejects(client.acquireTokenSilent({ account, scopes: [ACCESS], forceRefresh: true }), /invalid_grant/);
  });

  flow(column, 'wrong-verifier', async () => {
    const client = confidential(apps.web);
    const asked = await ask(client);
    const { parameters } = await browser('alice').go(asked.url);
    const codeVerifier = (await crypto.generatePkceCodes()).verifier;
    await assert.rejects(redeem(client, asked, parameters, { codeVerifier }), refused(ServerError, 501481));
    // The code is still good for who knows the verifier.
    await redeem(client, asked, parameters);
  });

  flow(column, 'wrong-state', async () => {
    const client = confidential(apps.web);
    const asked = await ask(client);
    const { parameters } = await browser('alice').go(asked.url);
    await assert.rejects(redeem(client, asked, parameters, { state: crypto.createNewGuid() }), /state_mismatch/);
  });

  flow(column, 'wrong-nonce', async () => {
    const client = confidential(apps.web);
    const asked = await ask(client);
    const { parameters } = await browser('alice').go(asked.url);
    await assert.rejects(redeem(client, asked, parameters, { nonce: crypto.createNewGuid() }), /nonce_mismatch/);
  });

  flow(column, 'wrong-issuer', async () => {
    // The same machine under another name is another issuer.
    const other = authority.replace('localhost', '127.0.0.1');
    const client = confidential(apps.daemon, {
      clientSecret: apps.daemon.secrets[0],
      authority: other,
      knownAuthorities: [new URL(other).host],
    });
    await assert.rejects(client.acquireTokenByClientCredential({ scopes: ['api://plain/.default'] }), /endpoints_resolution_error/);
  });

  flow(column, 'unknown-scope', async () => {
    const asked = await ask(confidential(apps.web), { scopes: ['api://middle/no.such'] });
    const { parameters } = await browser('alice').go(asked.url);
    assert.match(parameters.get('error_description'), /^AADSTS650053: /);
    assert.equal(parameters.get('state'), asked.request.state);
    const assertion = await tokenOf('alice');
    const middle = confidential(apps.middle);
    await assert.rejects(onBehalfOf(middle, assertion, 'api://plain/no.such'), refused(ServerError, 650053));
    await assert.rejects(onBehalfOf(middle, assertion, 'api://nobody/read'), refused(ServerError, 500011));
  });

  flow(column, 'user-cancels', async () => {
    const asked = await ask(confidential(apps.web));
    const { parameters } = await browser('alice', { cancel: true }).go(asked.url);
    assert.equal(parameters.get('error'), 'access_denied');
    assert.match(parameters.get('error_description'), /^AADSTS65004: /);
    // The client reads no errors of /authorize; it refuses to go on without a code.
    await assert.rejects(redeem(confidential(apps.web), asked, parameters), /request_cannot_be_made/);
  });

  flow(column, 'silent-signed-out', async () => {
    const asked = await ask(confidential(apps.web), { prompt: 'none' });
    const { parameters } = await browser('alice').go(asked.url);
    assert.equal(parameters.get('error'), 'login_required');
  });

  flow(column, 'silent-context', async () => {
    const client = confidential(apps.web);
    const pages = browser('alice');
    await signedIn(client, pages);
    const asked = await ask(client, { prompt: 'none', claims: C1 });
    const { parameters } = await pages.go(asked.url);
    assert.deepEqual(pages.shown, []);
    assert.equal(parameters.get('error'), 'interaction_required');
    assert.equal(parameters.get('claims'), C1);
  });
}
