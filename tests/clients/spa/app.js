// One MSAL instance in the mode of `?mode=`, as `client`; what it makes of a redirect, as `answer` or `failure`.

const mode = new URLSearchParams(location.search).get('mode') ?? sessionStorage.getItem('mode');
// The answer of the authority comes back without the query.
sessionStorage.setItem('mode', mode);

const client = new msal.PublicClientApplication({
  auth: {
    clientId: configuration.clientId,
    authority: mode === 'OIDC' ? `${configuration.authority}/v2.0` : configuration.authority,
    knownAuthorities: [new URL(configuration.authority).host],
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
