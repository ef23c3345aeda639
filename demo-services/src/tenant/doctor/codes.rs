//! What the authority's error numbers mean here, and how to mend it: the troubleshooting table of `docs/entra.md`.
//!
//! A number is for people: Microsoft changes them, and no service of ours decides by one.
//!
//! The meanings were checked with Microsoft's page "Microsoft Entra authentication and authorization error codes" (as of February 2025);
//! numbers that it leaves out, with the authority's own words in Microsoft's other documents and in issue threads.

/// One number, `AADSTS<number>`.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Code {
    /// The number.
    pub number: u32,
    /// What it means, a clause.
    pub meaning: &'static str,
    /// What to do, a sentence without the full stop.
    pub mend: &'static str,
}

const fn code(number: u32, meaning: &'static str, mend: &'static str) -> Code {
    Code {
        number,
        meaning,
        mend,
    }
}

/// By number.
pub const CODES: &[Code] = &[
    code(
        28000,
        "the scope parameter names more than one API",
        "ask for the scopes of one API at a time: one request, one `scope` of the configuration",
    ),
    code(
        50001,
        "the API is disabled or does not exist",
        "check the API's id in the scope, and that its enterprise application is enabled",
    ),
    code(
        50011,
        "the redirect URI is not registered for this application",
        "add exactly this URI, byte for byte, under the platform Web (Single-page application for the MSAL.js page)",
    ),
    code(
        50012,
        "the authority does not take the client's certificate or its signature",
        "upload the certificate (PEM) of `client_certificate` to the application, and check that the private key belongs to it",
    ),
    code(
        50013,
        "the token that was to be exchanged is not a valid assertion",
        "let the middle tier send the access token that it received, made for its own client id, before it expires",
    ),
    code(
        50020,
        "the account is of another tenant",
        "sign in with an account of this tenant, or invite it as a guest",
    ),
    code(
        50034,
        "the account is not in this tenant",
        "check the user name and `authority.tenant`",
    ),
    code(
        50053,
        "the account is locked after too many wrong passwords, or the sign-in came from an address known for attacks",
        "wait and sign in again; the failure reason under Entra ID > Monitoring & health > Sign-in logs tells which of the two it was",
    ),
    code(
        50057,
        "the account is disabled",
        "enable it under Entra ID > Users, or sign in with another account",
    ),
    code(
        50058,
        "nobody is signed in, and no page may be shown",
        "nothing is wrong: sign in with a page",
    ),
    code(
        50059,
        "the request does not say which tenant it is for",
        "put the tenant's id into `authority.tenant`",
    ),
    code(
        50074,
        "the user did not pass the second factor",
        "sign in again and complete the second factor",
    ),
    code(
        50076,
        "a policy demands multifactor authentication for this API",
        "nothing is wrong: the client answers the challenge with a sign-in; without one, check that tokens carry xms_cc",
    ),
    code(
        50078,
        "the second factor was given too long ago for the policy",
        "nothing is wrong: the client answers the challenge with a sign-in",
    ),
    code(
        50079,
        "a policy demands multifactor authentication, and the user has none registered",
        "let the user register a method (https://aka.ms/mfasetup) and sign in again",
    ),
    code(
        50097,
        "a policy demands that the device identifies itself",
        "sign in with a browser of a registered device, not by device code, or leave the demo's applications out of that policy",
    ),
    code(
        50105,
        "the user is not assigned to the application, which demands it",
        "assign the user or a group under Entra ID > Enterprise apps, the application, Users and groups, or switch \"Assignment required\" off",
    ),
    code(50126, "user name or password is wrong", "check both"),
    code(
        50131,
        "a Conditional Access policy is not met: by the device's state, a suspicious sign-in or another rule",
        "look the sign-in up under Entra ID > Monitoring & health > Sign-in logs, tab Conditional Access: it names the policy",
    ),
    code(
        50158,
        "a step outside of the authority is not done yet: terms of use, or another provider's second factor",
        "complete it at a sign-in with a page; the sign-in log tells whether it was passed",
    ),
    code(
        50173,
        "the grant was revoked, by an administrator or a changed password",
        "sign in again",
    ),
    code(
        50194,
        "the application is for one tenant and was asked for at /common",
        "put the tenant's id into `authority.tenant`",
    ),
    code(
        53000,
        "a policy demands a compliant device",
        "sign in from an enrolled, compliant device, or leave the demo's applications out of that policy",
    ),
    code(
        53001,
        "a policy demands a domain-joined device",
        "sign in from a domain-joined device, or leave the demo's applications out of that policy",
    ),
    code(
        53003,
        "a Conditional Access policy blocks the token",
        "look the sign-in up under Entra ID > Monitoring & health > Sign-in logs, tab Conditional Access: it names the policy",
    ),
    code(
        54005,
        "the authorization code was redeemed before",
        "sign in again; one code is good for one token request",
    ),
    code(
        65001,
        "consent is missing for the permission that was asked for",
        "grant admin consent for the application under API permissions, or let the user consent at a sign-in",
    ),
    code(
        65004,
        "the user declined to consent",
        "sign in again and accept, or grant admin consent",
    ),
    code(
        65005,
        "the application asks for an API that is not among its permissions",
        "add the API's scope under API permissions and grant admin consent",
    ),
    code(
        70008,
        "the code or refresh token has expired",
        "sign in again",
    ),
    code(
        70011,
        "the scope is not valid",
        "check `scope`: the API's application ID URI, a slash, and the name of an exposed scope",
    ),
    code(
        70043,
        "the sign-in is older than the policy's sign-in frequency",
        "sign in again",
    ),
    code(
        90002,
        "the tenant was not found in this cloud",
        "check `authority.tenant`, and `authority.instance` if the tenant is in a sovereign cloud",
    ),
    code(
        90009,
        "an application asked for a token for itself by its URI",
        "ask by its client id: `<client id>/.default`",
    ),
    code(
        90038,
        "the tenant is in a national cloud",
        "set `authority.instance` to that cloud's: the table of sovereign clouds is in docs/entra.md",
    ),
    code(
        90094,
        "only an administrator may consent to what was asked for",
        "grant admin consent for the application under API permissions",
    ),
    code(
        160021,
        "the request names a session that does not exist any more",
        "sign in again without a hint of the old session",
    ),
    code(
        500011,
        "the API is not in this tenant",
        "check the API's id in the scope and the tenant; an application without a service principal has none: `register` creates it, and so does admin consent (API permissions)",
    ),
    code(
        500014,
        "the API's service principal is disabled",
        "enable sign-in for the API under Entra ID > Enterprise apps, the API, Properties",
    ),
    code(
        500113,
        "the application has no redirect URI",
        "add the redirect URI under Authentication",
    ),
    code(
        500121,
        "the second factor was declined, failed or took too long",
        "sign in again and complete the second factor; if it fails again, check the user's registered methods",
    ),
    code(
        500131,
        "the token that was to be exchanged is for another application",
        "ask for a token of the middle tier's own scope: its audience must be the middle tier's client id or application ID URI",
    ),
    code(
        500133,
        "the token that was to be exchanged has expired",
        "get a new one; check the clock of this machine",
    ),
    code(
        500200,
        "the account is a personal Microsoft account, and the application takes accounts of organizations",
        "sign in with an account of this tenant, or invite the personal account as a guest",
    ),
    code(
        501051,
        "the application is not assigned to a role of the API, which demands it",
        "give it an app role of the API (API permissions, Application permissions, admin consent), or switch \"Assignment required\" off for the API",
    ),
    code(
        530003,
        "a policy demands a managed device",
        "sign in with a browser of a managed device, not by device code, or leave the demo's applications out of that policy",
    ),
    code(
        530035,
        "security defaults block the sign-in by device code",
        "sign in with a browser (`--sign-in browser`, the default), or with the token of another client (`--sign-in token`)",
    ),
    code(
        650052,
        "the tenant has no service principal for the API that is asked for",
        "check the API's id and create its enterprise application in this tenant",
    ),
    code(
        650053,
        "the API has no such scope",
        "check the scope's name under Expose an API, and write the API's application ID URI before it: a bare name is looked for in Microsoft Graph",
    ),
    code(
        650056,
        "the application lists no permission for the API, or nobody consented",
        "add the permission under API permissions and grant admin consent",
    ),
    code(
        650057,
        "the API is not among the permissions of the application",
        "add the API's scope under API permissions",
    ),
    code(
        700016,
        "the application is not in this tenant",
        "check `client_id` and `authority.tenant`",
    ),
    code(
        700024,
        "the assertion that proves the client has expired or is not valid yet",
        "check the clock of this machine",
    ),
    code(
        700025,
        "the application is registered as a public client and sent a credential",
        "move the redirect URI from the platform Mobile and desktop or Single-page application to Web, and switch \"Allow public client flows\" off",
    ),
    code(
        700027,
        "the signature of the client's certificate is not accepted",
        "upload the certificate (PEM) of `client_certificate` to the application, and check that it has not expired and that the key belongs to it",
    ),
    code(
        700082,
        "the refresh token was not used for too long",
        "sign in again",
    ),
    code(
        700084,
        "the refresh token of a single-page application is at its end",
        "sign in again",
    ),
    code(
        900144,
        "a parameter is missing from the request",
        "check the configuration for an empty value",
    ),
    code(
        1000502,
        "the client's certificate has expired or is not valid yet",
        "make a new certificate, upload it (PEM) to the application and name it in `client_certificate`; check the clock of this machine",
    ),
    code(
        1002012,
        "client credentials need a scope that ends in /.default",
        "write `<application ID URI>/.default`",
    ),
    code(
        7000112,
        "the application is disabled",
        "enable sign-in under Entra ID > Enterprise apps, the application, Properties",
    ),
    code(
        7000215,
        "the client secret is wrong",
        "put the secret's value there, not its id; make a new one if the value is lost",
    ),
    code(
        7000216,
        "an app-only token was asked for without a client credential",
        "set `client_secret` or `client_certificate`",
    ),
    code(
        7000218,
        "the application is no public client and sent no credential",
        "set `client_secret` or `client_certificate`; the redirect URI of the MSAL.js page belongs under the platform Single-page application",
    ),
    code(
        7000222,
        "the client secret has expired",
        "make a new secret, or better register a certificate",
    ),
    code(
        9002313,
        "the request is malformed",
        "check the configuration for stray spaces and line ends",
    ),
    code(
        9002325,
        "the redirect URI is of a single-page application, and the request came without PKCE",
        "use MSAL.js 2 or later; the redirect URI of a server belongs under the platform Web",
    ),
    code(
        9002326,
        "a browser redeemed a code or refresh token that was not issued to a single-page application",
        "move the redirect URI of the MSAL.js page to the platform Single-page application",
    ),
    code(
        9002327,
        "a server redeemed a code or refresh token that was issued to a single-page application",
        "move the redirect URI of the SPA backend to the platform Web",
    ),
];

impl Code {
    /// The entry of a number.
    #[must_use]
    pub fn of(number: u32) -> Option<&'static Self> {
        CODES.iter().find(|code| code.number == number)
    }
}

/// The first number in an answer of the authority: a page, an `error_description` or JSON.
pub(super) fn find(text: &str) -> Option<u32> {
    text.split("AADSTS").skip(1).find_map(|rest| {
        let end = rest
            .find(|letter: char| !letter.is_ascii_digit())
            .unwrap_or(rest.len());
        rest.get(..end)?.parse().ok()
    })
}

/// What to say about a number and what to do, known or not.
pub(crate) fn explain(number: u32) -> (String, String) {
    match Code::of(number) {
        Some(code) => (
            format!("AADSTS{number}: {}", code.meaning),
            code.mend.to_owned(),
        ),
        None => (
            format!("AADSTS{number}"),
            format!("look it up: https://login.microsoftonline.com/error?code={number}"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_document_has_the_same_table() {
        let document = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/entra.md");
        let document = std::fs::read_to_string(document).unwrap();
        let rows: Vec<&str> = document
            .lines()
            .filter(|line| {
                let cell = line
                    .strip_prefix("| ")
                    .and_then(|line| line.split(' ').next());
                cell.is_some_and(|cell| cell.parse::<u32>().is_ok())
            })
            .collect();
        let expected: Vec<String> = CODES
            .iter()
            .map(|code| format!("| {} | {} | {} |", code.number, code.meaning, code.mend))
            .collect();
        assert_eq!(
            rows,
            expected,
            "docs/entra.md, Troubleshooting:\n{}",
            expected.join("\n")
        );
    }

    #[test]
    fn numbers_are_in_order_and_no_cell_breaks_the_table() {
        assert!(CODES.is_sorted_by(|a, b| a.number < b.number));
        for code in CODES {
            let (meaning, mend) = (code.meaning, code.mend);
            assert!(
                !meaning.contains('|') && !mend.contains('|'),
                "{}",
                code.number
            );
            assert!(
                !meaning.ends_with('.') && !mend.ends_with('.'),
                "{}",
                code.number
            );
        }
    }

    #[test]
    fn the_number_is_found_wherever_it_stands() {
        for (text, expected) in [
            ("AADSTS50011: The redirect URI", Some(50_011)),
            (
                r#"{"error_description":"AADSTS7000215: Invalid"}"#,
                Some(7_000_215),
            ),
            ("see AADSTS codes; AADSTS65001", Some(65_001)),
            ("AADSTS", None),
            ("AADSTS99999999999999999999", None),
            ("50011", None),
        ] {
            assert_eq!(find(text), expected, "{text}");
        }
    }

    #[test]
    fn an_unknown_number_leads_to_where_it_is_explained() {
        assert!(explain(1).1.ends_with("error?code=1"));
        assert!(explain(50_011).0.contains("not registered"));
    }
}
