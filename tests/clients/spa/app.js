// One MSAL instance in the mode and tenant of the query, as `client`; what it makes of a redirect, as `answer` or `failure`.

// The authority comes back with queries of its own, or without one.
if (new URLSearchParams(location.search).has('mode')) sessionStorage.setItem('query', location.search);
const query = sessionStorage.getItem('query');
const mode = new URLSearchParams(query).get('mode');
const tenant = new URLSearchParams(query).get('tenant');

const client = new msal.PublicClientApplication({
  auth: {
    clientId: configuration.clientId,
    authority: `${configuration.origin}/${tenant}${mode === 'OIDC' ? '/v2.0' : ''}`,
    knownAuthorities: [new URL(configuration.origin).host],
    redirectUri: `${location.origin}/`,
    postLogoutRedirectUri: `${location.origin}/`,
    clientCapabilities: ['cp1'],
  },
  cache: { cacheLocation: 'sessionStorage' },
  system: { protocolMode: mode },
});
let answer = null;
let failure = null;

/** An error as the tests can read it. */
const plain = ({ name, errorCode: code, errorNo: number, subError, claims, message }) =>
  ({ name, code, number, subError, claims, message });

const show = (text) => {
  document.getElementById('state').textContent = text;
};

(async () => {
  await client.initialize();
  try {
    answer = await client.handleRedirectPromise();
    show(answer ? 'answered' : 'ready');
  } catch (error) {
    failure = plain(error);
    show('failed');
  }
})();
