//! The applications of the demo, what they offer, and what they may ask of each other: names only, no ids of a tenant.

pub use crate::tenant::cloud::GRAPH_APP as GRAPH;

/// What stands for Graph where a key of an application is expected.
pub(super) const GRAPH_KEY: &str = "graph";

/// Permissions of a client at a resource.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Edge {
    /// Key of the client.
    pub client: &'static str,
    /// Key of the resource, or `graph`.
    pub resource: &'static str,
    /// Values of scopes, or of one app role.
    pub permissions: &'static [&'static str],
}

/// What an application is, before it has an id.
pub(super) struct App {
    pub(super) key: &'static str,
    pub(super) scopes: &'static [Permission],
    pub(super) roles: &'static [Permission],
    pub(super) optional_claims: &'static [&'static str],
    /// Paths below the base URL.
    pub(super) web: &'static [&'static str],
    pub(super) spa: &'static [&'static str],
    pub(super) known_clients: &'static [&'static str],
    pub(super) pre_authorized: &'static [&'static str],
    pub(super) credential: bool,
}

/// A scope or an app role.
pub(super) struct Permission {
    pub(super) value: &'static str,
    pub(super) name: &'static str,
    pub(super) description: &'static str,
}

const NO_APP: App = App {
    key: "",
    scopes: &[],
    roles: &[],
    optional_claims: &[],
    web: &[],
    spa: &[],
    known_clients: &[],
    pre_authorized: &[],
    credential: false,
};

const CLAIMS: &[&str] = &["xms_cc", "acrs", "idtyp"];

pub(super) const APPS: &[App] = &[
    App {
        key: "downstream-api",
        scopes: &[Permission {
            value: "user_impersonation",
            name: "Call the downstream API",
            description: "Call the downstream API of the tower-bearer demo as the signed-in user.",
        }],
        roles: &[Permission {
            value: "Task.Run",
            name: "Run tasks",
            description: "Run tasks at the downstream API of the tower-bearer demo without a user.",
        }],
        optional_claims: CLAIMS,
        ..NO_APP
    },
    App {
        key: "mfa-app",
        scopes: &[Permission {
            value: "User.MFA",
            name: "Pass the gate of the profile",
            description: "Edit the own profile in the tower-bearer demo, after multifactor authentication.",
        }],
        ..NO_APP
    },
    App {
        key: "middle-tier",
        scopes: &[Permission {
            value: "user_impersonation",
            name: "Call the middle tier",
            description: "Call the middle tier of the tower-bearer demo as the signed-in user.",
        }],
        optional_claims: CLAIMS,
        known_clients: &["spa-backend", "msal-spa"],
        pre_authorized: &["spa-backend"],
        credential: true,
        ..NO_APP
    },
    App {
        key: "spa-backend",
        web: &["/auth/callback", "/"],
        credential: true,
        ..NO_APP
    },
    App {
        key: "msal-spa",
        spa: &["/msal", "/msal/redirect"],
        ..NO_APP
    },
    App {
        key: "daemon",
        credential: true,
        ..NO_APP
    },
];

/// Delegated permissions. What every sign-in asks for is among them: else each user would be asked for consent to that.
pub(super) const DELEGATED: &[Edge] = &[
    Edge {
        client: "middle-tier",
        resource: "downstream-api",
        permissions: &["user_impersonation"],
    },
    Edge {
        client: "middle-tier",
        resource: "mfa-app",
        permissions: &["User.MFA"],
    },
    Edge {
        client: "middle-tier",
        resource: GRAPH_KEY,
        permissions: &["User.Read", "User.ReadWrite"],
    },
    Edge {
        client: "spa-backend",
        resource: "middle-tier",
        permissions: &["user_impersonation"],
    },
    Edge {
        client: "spa-backend",
        resource: GRAPH_KEY,
        permissions: &["openid", "profile", "offline_access"],
    },
    Edge {
        client: "msal-spa",
        resource: "middle-tier",
        permissions: &["user_impersonation"],
    },
    Edge {
        client: "msal-spa",
        resource: GRAPH_KEY,
        permissions: &["openid", "profile", "offline_access"],
    },
];

/// Application permissions.
pub(super) const ASSIGNED: &[Edge] = &[Edge {
    client: "daemon",
    resource: "downstream-api",
    permissions: &["Task.Run"],
}];

/// Ids of Graph's delegated permissions, the same in every tenant (`permissions-reference`).
pub(super) const GRAPH_SCOPES: &[(&str, &str)] = &[
    ("openid", "37f7f235-527c-4136-accd-4a02d197296e"),
    ("profile", "14dad69e-099b-42c9-810b-d002981feec1"),
    ("offline_access", "7427e0e9-2fba-42fe-b0c0-848c9e6a8182"),
    ("User.Read", "e1fe6dd8-ba31-4d61-89e7-88639da4683d"),
    ("User.ReadWrite", "b4e74841-8e56-480b-be8b-910348b18b4c"),
];
