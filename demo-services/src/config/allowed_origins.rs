//! Which pages may call an API from a browser: an allow-list of origins.

use http::HeaderValue;
use serde::de::{Deserialize, Deserializer, Error as _};
use url::Url;

use crate::lists;
use crate::loopback::is_loopback;

/// Origins as browsers write them in `Origin`, `https://app.example` or `https://localhost:3000`; none by default. In a configuration
/// they are a list, or one text with commas between them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowedOrigins(Vec<HeaderValue>);

/// Not an origin that may be allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "an allowed origin is written https://host[:port] as browsers do, http on this machine only; `*` and `null` are none"
)]
pub struct OriginError;

impl AllowedOrigins {
    /// Checks each of them.
    ///
    /// # Errors
    ///
    /// A text that is no origin in its serialized form (RFC 6454 section 6.1), or plain http beyond this machine.
    pub fn new<'a>(origins: impl IntoIterator<Item = &'a str>) -> Result<Self, OriginError> {
        let origins = origins.into_iter().map(origin);
        Ok(Self(origins.collect::<Result<_, _>>()?))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn to_headers(&self) -> Vec<HeaderValue> {
        self.0.clone()
    }
}

impl<'de> Deserialize<'de> for AllowedOrigins {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let origins = lists::texts(deserializer)?;
        Self::new(origins.iter().map(String::as_str)).map_err(D::Error::custom)
    }
}

fn origin(text: &str) -> Result<HeaderValue, OriginError> {
    let url = Url::parse(text).map_err(|_| OriginError)?;
    let protected = url.scheme() == "https" || (url.scheme() == "http" && is_loopback(&url));
    // Compared byte for byte with what browsers send, so that there is one way to write it.
    // `*` within a host is a pattern to people and a name to nobody.
    if !protected || url.origin().ascii_serialization() != text || text.contains('*') {
        return Err(OriginError);
    }
    HeaderValue::from_str(text).map_err(|_| OriginError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_written_as_browsers_write_it() {
        for good in [
            "https://app.example",
            "https://app.example:8443",
            "https://localhost:3000",
            "http://localhost:3000",
            "http://127.0.0.1:3000",
            "http://[::1]:3000",
        ] {
            assert!(AllowedOrigins::new([good]).is_ok(), "{good}");
        }
        for bad in [
            "",
            "*",
            "null",
            "app.example",
            "http://app.example",
            "https://*.app.example",
            "https://app.example/",
            "https://app.example/page",
            "https://app.example:443",
            "https://App.example",
            "https://u@app.example",
            "file:///page",
            "https://app.example https://other.example",
        ] {
            assert_eq!(AllowedOrigins::new([bad]), Err(OriginError), "{bad}");
            assert_eq!(
                AllowedOrigins::new(["https://app.example", bad]),
                Err(OriginError),
                "{bad}"
            );
        }
    }

    #[test]
    fn a_list_and_a_text_say_the_same() {
        #[derive(serde::Deserialize)]
        struct Config {
            origins: AllowedOrigins,
        }
        let read = |text: &str| toml::from_str::<Config>(text).map(|config| config.origins);
        let two = AllowedOrigins::new(["https://a.example", "https://b.example"]).unwrap();
        let list = read("origins = ['https://a.example', 'https://b.example']").unwrap();
        assert_eq!(list, two);
        for text in [
            "https://a.example,https://b.example",
            " https://a.example , https://b.example ",
        ] {
            assert_eq!(read(&format!("origins = '{text}'")).unwrap(), two, "{text}");
        }
        assert!(read("origins = []").unwrap().is_empty());
        for bad in [
            "'*'",
            "['*']",
            "['https://a.example', 'null']",
            "'https://a.example https://b.example'",
            "'https://a.example,'",
            "''",
            "3",
        ] {
            assert!(read(&format!("origins = {bad}")).is_err(), "{bad}");
        }
    }
}
