// openid-client.

import * as openid from 'openid-client';
import { suite } from './relying-party.mjs';

suite('openid-client', {
  async connect(issuer, app, { post, basic, key, header, claims }) {
    const method = post
      ? openid.ClientSecretPost(post)
      : basic
        ? openid.ClientSecretBasic(basic)
        : key
          ? openid.PrivateKeyJwt(key, {
              [openid.modifyAssertion](ownHeader, payload) {
                Object.assign(ownHeader, header);
                Object.assign(payload, claims);
              },
            })
          : openid.None();
    const connection = await openid.discovery(new URL(issuer), app.client_id, {}, method);
    // Without this the client takes the ID token from the token endpoint at its word.
    openid.enableNonRepudiationChecks(connection);
    return connection;
  },
  random: openid.randomPKCECodeVerifier,
  challenge: openid.calculatePKCECodeChallenge,
  authorize: (connection, parameters) => openid.buildAuthorizationUrl(connection, parameters).href,
  redeem: (connection, { url, method, parameters }, { verifier, state, nonce }) =>
    openid.authorizationCodeGrant(
      connection,
      method === 'POST' ? new Request(url, { method, body: parameters }) : new URL(url),
      { pkceCodeVerifier: verifier, expectedState: state, expectedNonce: nonce, idTokenExpected: true },
    ),
  refresh: openid.refreshTokenGrant,
  app: openid.clientCredentialsGrant,
  generic: openid.genericGrantRequest,
  logout: (connection, parameters) => openid.buildEndSessionUrl(connection, parameters).href,
});
