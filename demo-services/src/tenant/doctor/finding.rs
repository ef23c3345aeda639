//! What a check found, and how it is told: as lines for people, as JSON for scripts.

use std::fmt::{self, Write as _};

use serde::{Serialize, Serializer};

use crate::tame::tame;

/// Longest text of a finding, in characters.
const LONGEST: usize = 1000;

/// What was looked at. Its name in kebab case is stable: scripts may compare it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Check {
    /// A configuration file is there, known and complete.
    File,
    /// The service takes the values of its file.
    Settings,
    /// The files of the service's own TLS certificate can be used.
    Tls,
    /// The package of MSAL.js is where the file says.
    MsalBundle,
    /// All services name the same authority.
    SameAuthority,
    /// The scopes that one service asks for are those that the next one demands.
    Scopes,
    /// The addresses that one service calls are those at which the next one is.
    Addresses,
    /// The authority publishes its metadata and is the one that the service expects.
    Discovery,
    /// This machine's clock agrees with the authority's.
    Clock,
    /// The authority takes the client's secret or certificate.
    Credential,
    /// The client's certificate, a local file, does not end soon.
    CertificateExpiry,
    /// What the tenant says about the end of secrets and certificates.
    CredentialExpiry,
    /// The token for Microsoft Graph, with which the tenant is asked.
    GraphToken,
    /// The application is registered as the file says.
    Registration,
    /// A token that the authority makes for the API is one that the API takes.
    Audience,
    /// The API is registered for version 2.0 tokens.
    TokenVersion,
    /// The API's tokens carry `xms_cc`, `acrs` and `idtyp`.
    OptionalClaims,
    /// The redirect URIs are registered, with the right platform.
    RedirectUri,
    /// The authority takes the sign-in request's client and scope.
    SignInRequest,
    /// The delegated permissions are consented to.
    Consent,
    /// A Conditional Access policy demands a second factor.
    MfaPolicy,
    /// A policy stands behind the authentication context.
    StepUpPolicy,
    /// The page of MSAL.js may call the middle tier.
    Cors,
    /// The port is free, or the right service is there already.
    Port,
    /// An access token as a whole.
    Token,
    /// It is no JWT, or none that is signed as an access token is.
    TokenFormat,
    /// Whom it is for.
    TokenAudience,
    /// Its version, 1.0 or 2.0.
    TokenVersionClaim,
    /// Who issued it.
    TokenIssuer,
    /// When it is good.
    TokenTime,
    /// Its signature and the key.
    TokenSignature,
    /// It is an access token.
    TokenKind,
    /// The scope that is needed.
    TokenScope,
    /// A user stands behind it.
    TokenCaller,
    /// Its client can answer claims challenges.
    TokenChallenges,
    /// The authentication context that it carries.
    TokenContext,
    /// The middle tier can exchange it.
    OnBehalfOf,
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Looked at and good.
    Ok,
    /// Could not be looked at; the words say why.
    Skipped,
    /// Works now, or in part.
    Warning,
    /// Does not work.
    Error,
}

/// Which service it concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Service {
    /// The SPA backend.
    SpaBackend,
    /// The middle tier.
    MiddleTier,
    /// The downstream API.
    DownstreamApi,
}

/// One outcome of one check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// What was looked at.
    pub check: Check,
    /// Which service it concerns; `None` for all or none in particular.
    pub service: Option<Service>,
    /// How bad it is.
    pub severity: Severity,
    /// What is so, in words. Never a secret, a token or what names a person.
    pub says: String,
    /// How to mend it.
    pub mend: Option<String>,
}

/// All findings of a run, in the order of the checks.
#[derive(Clone, Debug, Default, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The findings.
    pub findings: Vec<Finding>,
}

impl Check {
    /// The stable name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Settings => "settings",
            Self::Tls => "tls",
            Self::MsalBundle => "msal-bundle",
            Self::SameAuthority => "same-authority",
            Self::Scopes => "scopes",
            Self::Addresses => "addresses",
            Self::Discovery => "discovery",
            Self::Clock => "clock",
            Self::Credential => "credential",
            Self::CertificateExpiry => "certificate-expiry",
            Self::CredentialExpiry => "credential-expiry",
            Self::GraphToken => "graph-token",
            Self::Registration => "registration",
            Self::Audience => "audience",
            Self::TokenVersion => "token-version",
            Self::OptionalClaims => "optional-claims",
            Self::RedirectUri => "redirect-uri",
            Self::SignInRequest => "sign-in-request",
            Self::Consent => "consent",
            Self::MfaPolicy => "mfa-policy",
            Self::StepUpPolicy => "step-up-policy",
            Self::Cors => "cors",
            Self::Port => "port",
            Self::Token => "token",
            Self::TokenFormat => "token-format",
            Self::TokenAudience => "token-audience",
            Self::TokenVersionClaim => "token-version-claim",
            Self::TokenIssuer => "token-issuer",
            Self::TokenTime => "token-time",
            Self::TokenSignature => "token-signature",
            Self::TokenKind => "token-kind",
            Self::TokenScope => "token-scope",
            Self::TokenCaller => "token-caller",
            Self::TokenChallenges => "token-challenges",
            Self::TokenContext => "token-context",
            Self::OnBehalfOf => "on-behalf-of",
        }
    }

    pub(super) fn ok(
        self,
        service: impl Into<Option<Service>>,
        says: impl Into<String>,
    ) -> Finding {
        self.found(service, Severity::Ok, says, None)
    }

    pub(super) fn skipped(
        self,
        service: impl Into<Option<Service>>,
        says: impl Into<String>,
    ) -> Finding {
        self.found(service, Severity::Skipped, says, None)
    }

    pub(super) fn warning(
        self,
        service: impl Into<Option<Service>>,
        says: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        self.found(service, Severity::Warning, says, Some(mend.into()))
    }

    pub(super) fn error(
        self,
        service: impl Into<Option<Service>>,
        says: impl Into<String>,
        mend: impl Into<String>,
    ) -> Finding {
        self.found(service, Severity::Error, says, Some(mend.into()))
    }

    /// What came from elsewhere, a file name say, must not look like a line of ours or steer a terminal.
    fn found(
        self,
        service: impl Into<Option<Service>>,
        severity: Severity,
        says: impl Into<String>,
        mend: Option<String>,
    ) -> Finding {
        Finding {
            check: self,
            service: service.into(),
            severity,
            says: tame(&says.into(), LONGEST),
            mend: mend.map(|mend| tame(&mend, LONGEST)),
        }
    }
}

impl Serialize for Check {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl Severity {
    fn mark(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Skipped => "--",
            Self::Warning => "WARN",
            Self::Error => "FAIL",
        }
    }
}

impl Service {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::SpaBackend, Self::MiddleTier, Self::DownstreamApi];

    /// As commands and files call it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::SpaBackend => "spa-backend",
            Self::MiddleTier => "middle-tier",
            Self::DownstreamApi => "downstream-api",
        }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl Report {
    /// Of these findings.
    #[must_use]
    pub fn new(findings: Vec<Finding>) -> Self {
        Self { findings }
    }

    /// How many findings are so bad.
    #[must_use]
    pub fn count(&self, severity: Severity) -> usize {
        let same = self
            .findings
            .iter()
            .filter(|finding| finding.severity == severity);
        same.count()
    }

    /// One line for each finding, with a mark; the way on is indented below it.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        for finding in &self.findings {
            let mark = finding.severity.mark();
            let name = finding.check.as_str();
            let service = finding.service.map(|service| format!(" ({service})"));
            let service = service.unwrap_or_default();
            let _ = writeln!(text, "{mark:<4} {name}{service}: {}", finding.says);
            if let Some(mend) = &finding.mend {
                let _ = writeln!(text, "       -> {mend}");
            }
        }
        let _ = write!(
            text,
            "\nerrors: {}, warnings: {}, in order: {}, not looked at: {}",
            self.count(Severity::Error),
            self.count(Severity::Warning),
            self.count(Severity::Ok),
            self.count(Severity::Skipped),
        );
        text
    }

    /// `{"ok", "errors", "warnings", "findings": [{"check", "service", "severity", "says", "mend"}]}`.
    #[must_use]
    pub fn json(&self) -> String {
        let value = serde_json::json!({
            "ok": self.count(Severity::Error) == 0,
            "errors": self.count(Severity::Error),
            "warnings": self.count(Severity::Warning),
            "findings": self.findings,
        });
        format!("{value:#}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        Report {
            findings: vec![
                Check::Clock.ok(None, "agrees"),
                Check::Port.error(
                    Service::MiddleTier,
                    "taken\nFAIL forged\u{1b}[2J\u{202e}",
                    "stop it",
                ),
                Check::Consent.skipped(Service::SpaBackend, "no Graph token"),
            ],
        }
    }

    #[test]
    fn each_finding_is_one_line_and_the_way_on_stands_below() {
        let text = report().text();
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(
            lines,
            [
                "ok   clock: agrees",
                "FAIL port (middle-tier): taken FAIL forged [2J",
                "       -> stop it",
                "--   consent (spa-backend): no Graph token",
                "",
                "errors: 1, warnings: 0, in order: 1, not looked at: 1",
            ]
        );
    }

    #[test]
    fn the_json_has_the_stable_names() {
        let value: serde_json::Value = serde_json::from_str(&report().json()).unwrap();
        assert_eq!(value["ok"], false);
        assert_eq!(value["findings"][1]["says"], "taken FAIL forged [2J");
        assert_eq!(value["errors"], 1);
        assert_eq!(value["findings"][1]["check"], "port");
        assert_eq!(value["findings"][1]["service"], "middle-tier");
        assert_eq!(value["findings"][1]["severity"], "error");
        assert!(
            value["findings"][0]["service"].is_null() && value["findings"][0]["mend"].is_null()
        );
        assert_eq!(value["findings"][2]["severity"], "skipped");
    }
}
