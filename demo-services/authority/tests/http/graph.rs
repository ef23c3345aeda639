//! Calls to the Graph-like API, for the tests of it.

use local_authority::TokenSpec;
use serde_json::Value;

use crate::harness::{Answer, Harness};

pub(crate) const GRAPH: &str = "https://graph.microsoft.com";

/// Everything that registering an application takes.
pub(crate) const ADMIN: [&str; 10] = [
    "Application.ReadWrite.All",
    "AppRoleAssignment.ReadWrite.All",
    "DelegatedPermissionGrant.ReadWrite.All",
    "Policy.Read.All",
    "Policy.ReadWrite.ConditionalAccess",
    "AuthenticationContext.ReadWrite.All",
    "User.Read.All",
    "Group.Read.All",
    "Organization.Read.All",
    "User.ReadWrite",
];

impl Harness {
    /// A token of a user for Graph with these scopes.
    pub(crate) fn graph_token(&self, user: &str, scopes: &[&str]) -> String {
        let spec = TokenSpec::user(user, GRAPH).client("spa-backend");
        self.running.issue(spec.scopes(scopes.iter().copied()))
    }

    pub(crate) async fn graph(
        &self,
        token: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let url = format!("{}/v1.0/{path}", self.running.url());
        let mut request = self.http.request(method.parse().unwrap(), url);
        request = request.bearer_auth(token);
        if let Some(body) = body {
            request = request.json(&body);
        }
        Answer::of(request.send().await.unwrap()).await
    }

    /// As alice with all permissions; the answer must have this status.
    pub(crate) async fn admin(
        &self,
        method: &str,
        path: &str,
        body: Option<Value>,
        status: u16,
    ) -> Value {
        let token = self.graph_token("alice", &ADMIN);
        let answer = self.graph(&token, method, path, body).await;
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.text);
        if answer.text.is_empty() {
            Value::Null
        } else {
            answer.json()
        }
    }
}

pub(crate) fn code(answer: &Answer) -> (u16, String) {
    let code = answer.json()["error"]["code"].as_str().unwrap().to_owned();
    (answer.status, code)
}

pub(crate) fn text(value: &Value, name: &str) -> String {
    value[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name}: {value}"))
        .to_owned()
}
