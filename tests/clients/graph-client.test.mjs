// @microsoft/microsoft-graph-client, as an application that has a token for Graph.

import assert from 'node:assert/strict';
import { Client } from '@microsoft/microsoft-graph-client';
import { flow } from './flows.mjs';
import { USER_READ, known, users } from './harness.mjs';
import { exchanged, userToken } from './tokens.mjs';

const column = 'graph-client';

/** The client sends tokens to Graph's own hosts only, and to those that it is told of, by name without a port. */
const graph = (token) =>
  Client.init({
    baseUrl: known.origin,
    customHosts: new Set([new URL(known.origin).hostname]),
    defaultVersion: 'v1.0',
    authProvider: (done) => done(null, token),
  });

const refused = (status, code) => (error) => {
  assert.deepEqual([error.statusCode, error.code], [status, code], error.stack);
  return true;
};

flow(column, 'graph', async () => {
  const me = await graph(await userToken('alice', USER_READ)).api('/me').get();
  assert.deepEqual([me.userPrincipalName, me.displayName], [users.alice.username, users.alice.display_name]);
  const { displayName, ...rest } = await graph(await userToken('alice', USER_READ)).api('/me').select('displayName').get();
  assert.equal(displayName, users.alice.display_name);
  assert.equal(rest.userPrincipalName, undefined);
});

flow(column, 'graph-obo', async () => {
  const me = await graph(await exchanged(await userToken('alice'), USER_READ)).api('/me').get();
  assert.equal(me.userPrincipalName, users.alice.username);
});

flow(column, 'graph-change', async () => {
  const client = graph(await userToken('bob', USER_READ));
  await client.api('/me').update({ jobTitle: 'Builder' });
  assert.equal((await client.api('/me').get()).jobTitle, 'Builder');
});

flow(column, 'graph-permission', async () => {
  const client = graph(await userToken('alice', USER_READ));
  await assert.rejects(client.api('/applications').get(), refused(403, 'Authorization_RequestDenied'));
  // On-Behalf-Of the same user there is less that may be done.
  const less = graph(await exchanged(await userToken('alice'), USER_READ));
  await assert.rejects(less.api('/me').update({ jobTitle: 'Builder' }), refused(403, 'Authorization_RequestDenied'));
});

flow(column, 'graph-token', async () => {
  await assert.rejects(graph(await userToken('alice')).api('/me').get(), refused(401, 'InvalidAuthenticationToken'));
});
