// The page of silent requests: hands the answer to the frame above it.
msalRedirectBridge.broadcastResponseToMainFrame();
