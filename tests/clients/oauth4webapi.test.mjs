// oauth4webapi.

import * as oauth from 'oauth4webapi';
import { suite } from './relying-party.mjs';

suite('oauth4webapi', {
  async connect(issuer, app, { post, basic, key, header, claims }) {
    const expected = new URL(issuer);
    const server = await oauth.processDiscoveryResponse(expected, await oauth.discoveryRequest(expected));
    const method = post
      ? oauth.ClientSecretPost(post)
      : basic
        ? oauth.ClientSecretBasic(basic)
        : key
          ? oauth.PrivateKeyJwt(key, {
              [oauth.modifyAssertion](ownHeader, payload) {
                Object.assign(ownHeader, header);
                Object.assign(payload, claims);
              },
            })
          : oauth.None();
    return { server, client: { client_id: app.client_id }, method };
  },
  random: oauth.generateRandomCodeVerifier,
  challenge: oauth.calculatePKCECodeChallenge,
  authorize({ server, client }, parameters) {
    const url = new URL(server.authorization_endpoint);
    url.search = new URLSearchParams({ client_id: client.client_id, response_type: 'code', ...parameters });
    return url.href;
  },
  async redeem({ server, client, method }, { parameters }, { redirectUri, verifier, state, nonce }) {
    const checked = oauth.validateAuthResponse(server, client, parameters, state);
    const response = await oauth.authorizationCodeGrantRequest(server, client, method, checked, redirectUri, verifier);
    const tokens = await oauth.processAuthorizationCodeResponse(server, client, response, {
      expectedNonce: nonce,
      requireIdToken: true,
    });
    await oauth.validateApplicationLevelSignature(server, response);
    return tokens;
  },
  async refresh({ server, client, method }, token, additionalParameters) {
    const response = await oauth.refreshTokenGrantRequest(server, client, method, token, { additionalParameters });
    const tokens = await oauth.processRefreshTokenResponse(server, client, response);
    await oauth.validateApplicationLevelSignature(server, response);
    return tokens;
  },
  async app({ server, client, method }, parameters) {
    const response = await oauth.clientCredentialsGrantRequest(server, client, method, parameters);
    return oauth.processClientCredentialsResponse(server, client, response);
  },
  async generic({ server, client, method }, grant, parameters) {
    const response = await oauth.genericTokenEndpointRequest(server, client, method, grant, parameters);
    return oauth.processGenericTokenEndpointResponse(server, client, response);
  },
  logout({ server, client }, parameters) {
    const url = new URL(server.end_session_endpoint);
    url.search = new URLSearchParams({ client_id: client.client_id, ...parameters });
    return url.href;
  },
});
