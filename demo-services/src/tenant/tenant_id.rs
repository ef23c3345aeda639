//! A tenant may be named by one of its domains; everything else goes by its id.

use reqwest::Client;
use serde::Deserialize;
use uuid::Uuid;

use super::cloud::Place;
use super::sign_in::{NoToken, get};

/// OpenID Connect Discovery 1.0 section 3.
#[derive(Deserialize)]
struct Metadata {
    issuer: String,
}

/// Why it has no id.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TenantError {
    /// Neither an id nor a domain.
    #[error(
        "--tenant must be the tenant's id, a GUID, or one of its domains, such as contoso.onmicrosoft.com"
    )]
    Name,
    /// The authority does not know the domain.
    #[error("the authority knows no tenant of that domain: check --tenant and --cloud")]
    Unknown,
    /// The authority does not answer.
    #[error(transparent)]
    Authority(#[from] NoToken),
}

/// The id of the tenant with this id or domain, in lower case.
///
/// # Errors
///
/// It is neither, or the authority does not know the domain.
pub async fn tenant_id(place: &Place, http: &Client, name: &str) -> Result<String, TenantError> {
    if let Ok(id) = Uuid::try_parse(name) {
        return Ok(id.hyphenated().to_string());
    }
    let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.');
    // `common` and the like have no dot.
    let domain = name.contains('.') && !name.starts_with('.') && name.bytes().all(letters);
    if !domain || name.len() > 253 {
        return Err(TenantError::Name);
    }
    let mut url = place.authority.clone();
    if let Ok(mut path) = url.path_segments_mut() {
        path.clear()
            .extend([name, "v2.0", ".well-known", "openid-configuration"]);
    }
    let metadata: Metadata = get(http, url).await?.map_err(|_| TenantError::Unknown)?;
    let mut parts = metadata.issuer.split('/').skip(3);
    let id = parts.next().and_then(|part| Uuid::try_parse(part).ok());
    let id = id.ok_or(TenantError::Unknown)?;
    Ok(id.hyphenated().to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use wiremock::matchers::path;
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;
    use crate::tenant::cloud::Cloud;

    const ID: &str = "11111111-2222-3333-4444-55555555555a";

    async fn ask(name: &str) -> Result<String, String> {
        let server = MockServer::start().await;
        let at = |domain: &str| path(format!("/{domain}/v2.0/.well-known/openid-configuration"));
        let answer =
            |issuer: String| ResponseTemplate::new(200).set_body_json(json!({ "issuer": issuer }));
        let known = answer(format!("https://login.example/{ID}/v2.0"));
        Mock::given(at("contoso.example"))
            .respond_with(known)
            .mount(&server)
            .await;
        let odd = answer("https://login.example/{tenantid}/v2.0".into());
        Mock::given(at("odd.example"))
            .respond_with(odd)
            .mount(&server)
            .await;
        let unknown = json!({ "error": "invalid_tenant", "error_codes": [90_002] });
        Mock::given(at("other.example"))
            .respond_with(ResponseTemplate::new(400).set_body_json(unknown))
            .mount(&server)
            .await;
        let place = Place::new(Cloud::Global, Some(&server.uri().parse().unwrap()), None).unwrap();
        let http = Client::builder().no_proxy().build().unwrap();
        let id = tenant_id(&place, &http, name).await;
        id.map_err(|error| error.to_string())
    }

    #[tokio::test]
    async fn a_domain_has_the_id_that_the_authority_tells() {
        assert_eq!(ask("contoso.example").await.as_deref(), Ok(ID));
        assert_eq!(ask(&ID.to_uppercase()).await.as_deref(), Ok(ID));
        for unknown in ["other.example", "odd.example"] {
            let said = ask(unknown).await.unwrap_err();
            assert!(said.contains("knows no tenant"), "{said}");
        }
        for bad in [
            "common",
            "organizations",
            "consumers",
            "contoso",
            "a.b/c",
            ".x",
            "a b.c",
            "",
        ] {
            let said = ask(bad).await.unwrap_err();
            assert!(said.contains("must be the tenant's id"), "{bad}: {said}");
        }
    }
}
