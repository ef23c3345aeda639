// Makes one MSAL instance, in the mode of the fragment's sibling `?mode=`, and lets the tests call it as `window.client`.

const mode = new URLSearchParams(location.search).get('mode') ?? sessionStorage.getItem('mode') ?? 'AAD';
sessionStorage.setItem('mode', mode);

async function start() {
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
  await client.initialize();
  window.client = client;
  window.bridge = `${location.origin}/redirect`;
  const { promise, settle } = { promise: client.handleRedirectPromise(), settle: (text) => (document.getElementById('state').textContent = text) };
  try {
    window.answer = await promise;
    settle(window.answer ? 'answered' : 'ready');
  } catch (error) {
    window.failure = { name: error.name, code: error.errorCode, number: error.errorNo, claims: error.claims, message: error.message };
    settle('failed');
  }
}

start();
