// The page of silent requests and popups: hands the authority's answer to the page that asked, and closes.
/* global msalRedirectBridge */

// Opened by hand there is nothing to hand over.
msalRedirectBridge.broadcastResponseToMainFrame().catch(() => {});
