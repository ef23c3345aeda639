// The flows of a certified OpenID Connect client. openid-client and oauth4webapi have the same ones behind different calls.

import assert from 'node:assert/strict';
import { createPublicKey, verify, webcrypto } from 'node:crypto';
import { flow } from './flows.mjs';
import { ACCESS, C1, CLOSED, ELSEWHERE, PLAIN, STRICT } from './harness.mjs';
import { apps, browser, certificate, claims, control, known, skewed, users } from './harness.mjs';
import { userToken } from './tokens.mjs';

const ON_BEHALF_OF = 'urn:ietf:params:oauth:grant-type:jwt-bearer';
const REDIRECT = apps.web.redirect_uris.web[0];
const SCOPE = `openid profile offline_access ${ACCESS}`;

/** What `PrivateKeyJwt` wants, and the header that Entra finds the certificate by. */
export async function privateKey(name, alg) {
  const { key, sha1, sha256 } = certificate(name);
  const der = Buffer.from(key.replace(/-----[^-]+-----|\s/g, ''), 'base64');
  const algorithm = { name: { PS256: 'RSA-PSS', RS256: 'RSASSA-PKCS1-v1_5' }[alg], hash: 'SHA-256' };
  const thumbprint = (hex) => Buffer.from(hex, 'hex').toString('base64url');
  return {
    key: await webcrypto.subtle.importKey('pkcs8', der, algorithm, false, ['sign']),
    header: alg === 'PS256' ? { 'x5t#S256': thumbprint(sha256) } : { x5t: thumbprint(sha1) },
  };
}

/**
 * `client` has
 * - `connect(issuer, app, credential)`, a connection; the credential is `{ post }`, `{ basic }`, `{ none }` or
 *   `{ key, header, claims }`, of which the last two go into the assertion,
 * - `random()` and `challenge(verifier)`,
 * - `authorize(connection, parameters)`, a URL,
 * - `redeem(connection, answer, { redirectUri, verifier, state, nonce })`,
 * - `refresh(connection, token, parameters)`, `app(connection, parameters)`, `generic(connection, grant, parameters)`,
 * - `logout(connection, parameters)`, a URL.
 */
export function suite(column, client) {
  const post = (app) => client.connect(known.issuer, app, { post: app.secrets[0] });
  const holding = async (app, alg, name = app.name, claims = {}) =>
    client.connect(known.issuer, app, { ...(await privateKey(name, alg)), claims });

  async function ask(connection, more = {}) {
    const verifier = client.random();
    const parameters = {
      redirect_uri: REDIRECT,
      scope: SCOPE,
      state: client.random(),
      nonce: client.random(),
      code_challenge: await client.challenge(verifier),
      code_challenge_method: 'S256',
      ...more,
    };
    const { redirect_uri: redirectUri, state, nonce } = parameters;
    return { url: client.authorize(connection, parameters), expected: { redirectUri, state, nonce, verifier } };
  }

  async function signedIn(connection, pages, more) {
    const { url, expected } = await ask(connection, more);
    return client.redeem(connection, await pages.go(url), expected);
  }

  const tokenOf = async (username) => (await signedIn(await post(apps.web), browser(username))).access_token;
  const onBehalfOf = (connection, assertion, scope, more) =>
    client.generic(connection, ON_BEHALF_OF, { assertion, scope, requested_token_use: 'on_behalf_of', ...more });

  /** The body of an error answer, with its AADSTS number. */
  const refused = (error, number, more = {}) => (thrown) => {
    assert.equal(thrown.error, error, thrown.stack);
    assert.deepEqual(thrown.cause.error_codes, [number]);
    for (const [key, value] of Object.entries(more)) assert.deepEqual(thrown.cause[key] ?? thrown[key], value, key);
    return true;
  };

  for (const mode of ['query', 'form_post']) {
    flow(column, `sign-in-${mode.replace('_', '-')}`, async () => {
      const tokens = await signedIn(await post(apps.web), browser('alice'), { response_mode: mode });
      const { aud, scp, azp } = claims(tokens.access_token);
      assert.deepEqual([aud, scp, azp], [apps.middle.client_id, 'access', apps.web.client_id]);
      assert.equal(tokens.token_type, 'bearer');
      assert.equal(tokens.scope, SCOPE);
    });
  }

  flow(column, 'id-token', async () => {
    const tokens = await signedIn(await post(apps.web), browser('alice'));
    const { iss, aud, preferred_username, tid } = claims(tokens.id_token);
    assert.deepEqual([iss, aud, preferred_username, tid], [known.issuer, apps.web.client_id, users.alice.username, known.tenant]);
    // The client has checked the signature against the published keys; so do we, to know that it could.
    const [header, payload, signature] = tokens.id_token.split('.');
    const { kid } = JSON.parse(Buffer.from(header, 'base64url'));
    const { keys } = await (await fetch(`${known.authority}/discovery/v2.0/keys`)).json();
    const key = createPublicKey({ key: keys.find((key) => key.kid === kid), format: 'jwk' });
    assert.ok(verify('sha256', `${header}.${payload}`, key, Buffer.from(signature, 'base64url')));
  });

  flow(column, 'consent', async () => {
    const pages = browser('alice');
    const tokens = await signedIn(await post(apps.asking), pages, {
      redirect_uri: apps.asking.redirect_uris.web[0],
      prompt: 'consent',
    });
    assert.deepEqual(pages.shown, ['sign-in', 'consent']);
    assert.equal(claims(tokens.access_token).scp, 'access');
  });

  flow(column, 'refresh', async () => {
    const connection = await post(apps.web);
    const first = await signedIn(connection, browser('alice'));
    const second = await client.refresh(connection, first.refresh_token, { scope: SCOPE });
    assert.notEqual(second.refresh_token, first.refresh_token);
    assert.notEqual(second.access_token, first.access_token);
    assert.equal(claims(second.id_token).sub, claims(first.id_token).sub);
    await client.refresh(connection, second.refresh_token, { scope: SCOPE });
  });

  flow(column, 'sso', async () => {
    const connection = await post(apps.web);
    const pages = browser('alice');
    await signedIn(connection, pages);
    await signedIn(connection, pages, { prompt: 'none' });
    assert.deepEqual(pages.shown, []);
  });

  flow(column, 'step-up', async () => {
    const connection = await post(apps.web);
    const pages = browser('alice');
    const before = await signedIn(connection, pages);
    assert.equal(claims(before.access_token).acrs, undefined);
    const after = await signedIn(connection, pages, { claims: C1 });
    assert.deepEqual(pages.shown, ['mfa']);
    assert.deepEqual(claims(after.access_token).acrs, ['c1']);
  });

  for (const [id, connect] of Object.entries({
    'obo-secret': post,
    'obo-ps256': (app) => holding(app, 'PS256'),
    'obo-rs256': (app) => holding(app, 'RS256'),
  })) {
    flow(column, id, async () => {
      const assertion = await tokenOf('alice');
      const tokens = await onBehalfOf(await connect(apps.middle), assertion, PLAIN);
      const { aud, scp, azp, azpacr, oid } = claims(tokens.access_token);
      assert.deepEqual([aud, scp, azp], [apps.plain.client_id, 'read', apps.middle.client_id]);
      assert.equal(azpacr, id === 'obo-secret' ? '1' : '2');
      assert.equal(oid, claims(assertion).oid);
    });
  }

  flow(column, 'obo-after-step-up', async () => {
    const connection = await post(apps.web);
    const middle = await post(apps.middle);
    const pages = browser('alice');
    const weak = await signedIn(connection, pages);
    const challenge = await onBehalfOf(middle, weak.access_token, STRICT).catch((error) => error.cause.claims);
    const strong = await signedIn(connection, pages, { claims: challenge });
    assert.deepEqual(pages.shown, ['mfa']);
    const tokens = await onBehalfOf(middle, strong.access_token, STRICT);
    assert.equal(claims(tokens.access_token).aud, apps.strict.client_id);
    await assert.rejects(onBehalfOf(middle, weak.access_token, STRICT), refused('interaction_required', 50076));
  });

  for (const [id, connect] of Object.entries({
    'app-secret': post,
    'app-basic': (app) => client.connect(known.issuer, app, { basic: app.secrets[0] }),
    'app-ps256': (app) => holding(app, 'PS256'),
    'app-rs256': (app) => holding(app, 'RS256'),
  })) {
    flow(column, id, async () => {
      const tokens = await client.app(await connect(apps.daemon), { scope: 'api://plain/.default' });
      const { roles, scp, azpacr } = claims(tokens.access_token);
      assert.deepEqual([roles, scp], [['Task.Run'], undefined]);
      assert.equal(azpacr, ['app-secret', 'app-basic'].includes(id) ? '1' : '2');
    });
  }

  flow(column, 'logout', async () => {
    const connection = await post(apps.web);
    const pages = browser('alice');
    const { id_token } = await signedIn(connection, pages);
    const parameters = { post_logout_redirect_uri: REDIRECT, id_token_hint: id_token, state: 'bye' };
    const { url, parameters: back } = await pages.go(client.logout(connection, parameters));
    assert.ok(url.startsWith(REDIRECT));
    assert.equal(back.get('state'), 'bye');
    const after = await pages.go((await ask(connection, { prompt: 'none' })).url);
    assert.equal(after.parameters.get('error'), 'login_required');
  });

  flow(column, 'obo-mfa', async () => {
    const middle = await post(apps.middle);
    await assert.rejects(
      onBehalfOf(middle, await tokenOf('alice'), STRICT),
      refused('interaction_required', 50076, {
        status: 400,
        suberror: 'basic_action',
        claims: JSON.stringify({
          access_token: { capolids: { essential: true, values: [known.policies['MFA for strict'].id] } },
        }),
      }),
    );
  });

  for (const [id, username, scope, error, number, more] of [
    ['obo-unregistered', 'carol', STRICT, 'interaction_required', 50079, { suberror: 'basic_action' }],
    ['obo-blocked', 'alice', CLOSED, 'invalid_grant', 53003, { suberror: 'message_only', claims: undefined }],
    ['obo-consent', 'alice', ELSEWHERE, 'invalid_grant', 65001, { suberror: 'consent_required' }],
  ]) {
    flow(column, id, async () => {
      const middle = await post(apps.middle);
      await assert.rejects(onBehalfOf(middle, await tokenOf(username), scope), refused(error, number, more));
    });
  }

  flow(column, 'obo-context', async () => {
    const middle = await post(apps.middle);
    await assert.rejects(
      onBehalfOf(middle, await tokenOf('alice'), PLAIN, { claims: C1 }),
      refused('interaction_required', 50076, { claims: C1 }),
    );
  });

  flow(column, 'obo-expired', async () => {
    // These clients check the ID token's times and would not take this one.
    const assertion = await skewed(-2 * 3600, () => userToken('alice'));
    const middle = await post(apps.middle);
    await assert.rejects(onBehalfOf(middle, assertion, PLAIN), refused('invalid_grant', 500133));
  });

  flow(column, 'obo-audience', async () => {
    const middle = await post(apps.middle);
    const { access_token: other } = await onBehalfOf(middle, await tokenOf('alice'), PLAIN);
    await assert.rejects(onBehalfOf(middle, other, PLAIN), refused('invalid_grant', 500131));
  });

  const revoked = (thrown) => {
    refused('invalid_grant', 50173, { suberror: 'bad_token' })(thrown);
    return JSON.parse(thrown.cause.claims).access_token.nbf.essential;
  };

  flow(column, 'obo-revoked', async () => {
    const middle = await post(apps.middle);
    const assertion = await tokenOf('rita');
    await control({ do: 'revoke', user: 'rita' });
    await assert.rejects(onBehalfOf(middle, assertion, PLAIN), revoked);
  });

  flow(column, 'refresh-revoked', async () => {
    const connection = await post(apps.web);
    const { refresh_token } = await signedIn(connection, browser('rita'));
    await control({ do: 'revoke', user: 'rita' });
    await assert.rejects(client.refresh(connection, refresh_token, { scope: SCOPE }), revoked);
  });

  flow(column, 'refresh-context', async () => {
    const connection = await post(apps.web);
    const { refresh_token } = await signedIn(connection, browser('alice'));
    await assert.rejects(
      client.refresh(connection, refresh_token, { scope: SCOPE, claims: C1 }),
      refused('interaction_required', 50076, { claims: C1 }),
    );
    // A refusal does not use the token up.
    await client.refresh(connection, refresh_token, { scope: SCOPE });
  });

  flow(column, 'refresh-reused', async () => {
    const connection = await post(apps.web);
    const { refresh_token: old } = await signedIn(connection, browser('alice'));
    const { refresh_token: next } = await client.refresh(connection, old, { scope: SCOPE });
    await assert.rejects(client.refresh(connection, old, { scope: SCOPE }), refused('invalid_grant', 70000));
    await assert.rejects(client.refresh(connection, next, { scope: SCOPE }), refused('invalid_grant', 70000));
  });

  const appOnly = (connection) => client.app(connection, { scope: 'api://plain/.default' });

  flow(column, 'wrong-secret', async () => {
    const body = await client.connect(known.issuer, apps.daemon, { post: 'not-the-secret' });
    await assert.rejects(appOnly(body), refused('invalid_client', 7000215, { status: 401 }));
    // RFC 6749 section 5.2: whoever tries the header is answered with a challenge in the header, which the client reads first.
    const header = await client.connect(known.issuer, apps.daemon, { basic: 'not-the-secret' });
    await assert.rejects(appOnly(header), (error) => error.code === 'OAUTH_WWW_AUTHENTICATE_CHALLENGE' && error.status === 401);
  });

  flow(column, 'no-credential', async () => {
    const connection = await client.connect(known.issuer, apps.daemon, { none: true });
    await assert.rejects(appOnly(connection), refused('invalid_client', 7000218, { status: 401 }));
  });

  flow(column, 'wrong-certificate', async () => {
    const connection = await holding(apps.daemon, 'PS256', 'middle');
    await assert.rejects(appOnly(connection), refused('invalid_client', 700027, { status: 401 }));
  });

  for (const [id, changed, number] of [
    ['assertion-audience', { aud: 'https://localhost/token' }, 700023],
    ['assertion-expired', { exp: Math.floor(Date.now() / 1000) - 3600 }, 700024],
  ]) {
    flow(column, id, async () => {
      const connection = await holding(apps.daemon, 'PS256', 'daemon', changed);
      await assert.rejects(appOnly(connection), refused('invalid_client', number, { status: 401 }));
    });
  }

  flow(column, 'public-with-secret', async () => {
    const redirect_uri = 'http://localhost:50999/done';
    await signedIn(await client.connect(known.issuer, apps.native, { none: true }), browser('alice'), { redirect_uri });
    await assert.rejects(signedIn(await post(apps.native), browser('alice'), { redirect_uri }), refused('invalid_client', 700025));
  });

  flow(column, 'unknown-client', async () => {
    const nobody = { client_id: 'c11e0000-0000-4000-8000-00000000ffff', secrets: ['of-nobody-known'] };
    await assert.rejects(appOnly(await post(nobody)), refused('unauthorized_client', 700016));
  });

  flow(column, 'wrong-redirect', async () => {
    for (const redirect_uri of [`${REDIRECT}/`, 'http://127.0.0.1:3000/callback', 'https://localhost:3000/callback']) {
      const { url } = await ask(await post(apps.web), { redirect_uri });
      const { status, text } = await browser('alice').go(url);
      assert.equal(status, 400);
      assert.match(text, /AADSTS50011/);
    }
  });

  flow(column, 'code-reused', async () => {
    const connection = await post(apps.web);
    const { url, expected } = await ask(connection);
    const answer = await browser('alice').go(url);
    const { refresh_token } = await client.redeem(connection, answer, expected);
    await assert.rejects(client.redeem(connection, answer, expected), refused('invalid_grant', 54005));
    await assert.rejects(client.refresh(connection, refresh_token, { scope: SCOPE }), refused('invalid_grant', 70000));
  });

  flow(column, 'wrong-verifier', async () => {
    const connection = await post(apps.web);
    const { url, expected } = await ask(connection);
    const answer = await browser('alice').go(url);
    const other = { ...expected, verifier: client.random() };
    await assert.rejects(client.redeem(connection, answer, other), refused('invalid_grant', 501481));
    await client.redeem(connection, answer, expected);
  });

  for (const [id, changed, reason] of [
    ['wrong-state', 'state', /unexpected "state" response parameter value/],
    ['wrong-nonce', 'nonce', /unexpected ID Token "nonce" claim value/],
  ]) {
    flow(column, id, async () => {
      const connection = await post(apps.web);
      const { url, expected } = await ask(connection);
      const answer = await browser('alice').go(url);
      const other = { ...expected, [changed]: client.random() };
      await assert.rejects(client.redeem(connection, answer, other), (error) => {
        assert.match(`${error.message} ${error.cause?.message}`, reason);
        return true;
      });
    });
  }

  flow(column, 'wrong-issuer', async () => {
    const others = [
      known.issuer.replace('localhost', '127.0.0.1'),
      known.issuer.replace(known.tenant, 'contoso.example'),
      known.issuer.replace(known.tenant, 'common'),
      `${known.issuer}/`,
    ];
    for (const issuer of others) {
      await assert.rejects(client.connect(issuer, apps.web, { none: true }), (error) => {
        assert.equal(error.code, 'OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED', error.stack);
        return true;
      });
    }
  });

  flow(column, 'wrong-setting', async () => {
    for (const [issuer, code] of [
      [known.issuer.replace('https', 'http'), 'OAUTH_HTTP_REQUEST_FORBIDDEN'],
      [known.authority, 'OAUTH_JSON_ATTRIBUTE_COMPARISON_FAILED'],
    ]) {
      await assert.rejects(client.connect(issuer, apps.web, { none: true }), (error) => {
        assert.equal(error.code, code, error.stack);
        return true;
      });
    }
  });

  flow(column, 'unknown-scope', async () => {
    const connection = await post(apps.web);
    const { url, expected } = await ask(connection, { scope: 'openid api://middle/no.such' });
    const answer = await browser('alice').go(url);
    await assert.rejects(client.redeem(connection, answer, expected), (error) => {
      assert.match(error.error_description, /^AADSTS650053: /);
      return true;
    });
    const middle = await post(apps.middle);
    await assert.rejects(onBehalfOf(middle, await tokenOf('alice'), 'api://nobody/read'), refused('invalid_resource', 500011));
  });

  for (const [id, pages, more, error, number] of [
    ['user-cancels', () => browser('alice', { cancel: true }), {}, 'access_denied', 65004],
    ['silent-signed-out', () => browser('alice'), { prompt: 'none' }, 'login_required', 50058],
  ]) {
    flow(column, id, async () => {
      const connection = await post(apps.web);
      await assert.rejects(signedIn(connection, pages(), more), (thrown) => {
        assert.equal(thrown.error, error, thrown.stack);
        assert.ok(thrown.error_description.startsWith(`AADSTS${number}: `));
        return true;
      });
    });
  }

  flow(column, 'silent-context', async () => {
    const connection = await post(apps.web);
    const pages = browser('alice');
    await signedIn(connection, pages);
    await assert.rejects(signedIn(connection, pages, { prompt: 'none', claims: C1 }), (thrown) => {
      assert.equal(thrown.error, 'interaction_required', thrown.stack);
      assert.equal(thrown.cause.get('claims'), C1);
      return true;
    });
  });

  flow(column, 'unsupported-grant', async () => {
    const middle = await post(apps.middle);
    const grant = 'urn:ietf:params:oauth:grant-type:saml2-bearer';
    await assert.rejects(
      client.generic(middle, grant, { assertion: 'x', scope: PLAIN }),
      refused('unsupported_grant_type', 70003),
    );
  });
}
