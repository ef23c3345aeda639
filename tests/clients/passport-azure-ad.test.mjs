// passport-azure-ad: its BearerStrategy guards a small API.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { after, before } from 'node:test';
import passport from 'passport';
import { BearerStrategy } from 'passport-azure-ad';
import { flow } from './flows.mjs';
import { OLD, PLAIN, apps, known, skewed, users } from './harness.mjs';
import { appToken, exchanged, signedBySomebodyElse, userToken } from './tokens.mjs';

const METADATA = '.well-known/openid-configuration';

/** The guard of an API, by a name of its own. */
function guarding(name, settings) {
  const strategy = new BearerStrategy(
    {
      identityMetadata: `${known.issuer}/${METADATA}`,
      clientID: apps.plain.client_id,
      scope: ['read'],
      // Otherwise the challenge does not say what is wrong with a token.
      loggingNoPII: false,
      ...settings,
    },
    (claims, done) => done(null, claims),
  );
  passport.use(name, strategy);
  return passport.authenticate(name, { session: false });
}

const guards = {
  '/': guarding('api', {}),
  '/old': guarding('api of version 1.0', {
    identityMetadata: `${known.authority}/${METADATA}`,
    clientID: apps.old.client_id,
    audience: 'api://old',
  }),
  '/by-domain': guarding('api by domain', { identityMetadata: `${known.origin}/contoso.example/v2.0/${METADATA}` }),
  '/by-audience': guarding('api by audience', { clientID: apps.daemon.client_id, audience: apps.plain.client_id }),
};

const api = createServer((request, response) => {
  guards[request.url](request, response, (error) => {
    const { preferred_username: name } = request.user ?? {};
    response.writeHead(error ? 500 : 200, { 'content-type': 'application/json' }).end(JSON.stringify({ name }));
  });
});

before(() => once(api.listen(0, '127.0.0.1'), 'listening'));
after(() => {
  api.close();
  api.closeAllConnections();
});

async function call(token, path = '/') {
  const headers = { authorization: `Bearer ${token}` };
  const response = await fetch(`http://127.0.0.1:${api.address().port}${path}`, { headers });
  return { status: response.status, challenge: response.headers.get('www-authenticate'), text: await response.text() };
}

const refuses = (id, reason, token, path) =>
  flow('passport', id, async () => {
    const { status, challenge, text } = await call(await token(), path);
    assert.equal(status, 401, text);
    assert.match(challenge, reason);
  });

const valid = async () => exchanged(await userToken('alice'), PLAIN);

flow('passport', 'api-valid', async () => {
  const { status, text } = await call(await valid());
  assert.equal(status, 200, text);
  assert.deepEqual(JSON.parse(text), { name: users.alice.username });
});
flow('passport', 'api-v1', async () => {
  const { status, text } = await call(await exchanged(await userToken('alice'), OLD), '/old');
  assert.equal(status, 200, text);
});
flow('passport', 'setting', async () => {
  for (const path of ['/by-domain', '/by-audience']) {
    const { status, text } = await call(await valid(), path);
    assert.equal(status, 200, text);
  }
});
flow('passport', 'wrong-setting', () => {
  const identityMetadata = `${known.issuer.replace('https', 'http')}/${METADATA}`;
  assert.throws(() => guarding('over http', { identityMetadata }), /must be a https url/);
});
refuses('api-audience', /jwt audience is invalid/, () => userToken('alice'));
refuses('api-scope', /scope is not found in token/, () => appToken('api://plain/.default'));
refuses('api-expired', /jwt is expired/, () => skewed(-2 * 3600, valid));
refuses('api-version', /jwt issuer is invalid/, valid, '/old');
refuses('api-key', /invalid signature/, async () => signedBySomebodyElse(await valid()));
