//! A list in a configuration: TOML's own, or one text with commas, as the environment has it.

use serde::de::{Deserialize, Deserializer, Error as _};
use url::Url;

/// The texts of either. Spaces around a comma do not count; an empty text between commas is an entry, for the caller to refuse.
///
/// # Errors
///
/// Neither a list of texts nor a text.
pub(crate) fn texts<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(serde::Deserialize)]
    #[serde(
        untagged,
        expecting = "a list of texts, or one text with commas between them"
    )]
    enum Written {
        List(Vec<String>),
        Text(String),
    }
    let written = Written::deserialize(deserializer)?;
    Ok(match written {
        Written::List(list) => list,
        Written::Text(text) => text.split(',').map(|part| part.trim().to_owned()).collect(),
    })
}

/// The same of URLs, whose texts are not repeated in an error.
///
/// # Errors
///
/// Those of [`texts`], or one of them is no URL.
pub(crate) fn urls<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Url>, D::Error> {
    let texts = texts(deserializer)?;
    let urls = (1..).zip(&texts).map(|(number, text): (usize, _)| {
        let url = Url::parse(text);
        url.map_err(|error| D::Error::custom(format_args!("entry {number}: {error}")))
    });
    urls.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Config {
        #[serde(default, deserialize_with = "urls")]
        urls: Vec<Url>,
    }

    fn read(text: &str) -> Result<Vec<String>, toml::de::Error> {
        let config = toml::from_str::<Config>(text)?;
        Ok(config.urls.iter().map(Url::to_string).collect())
    }

    #[test]
    fn a_list_and_a_text_with_commas_say_the_same() {
        let two = ["http://localhost:5000/", "http://localhost:7000/"];
        for text in [
            "urls = ['http://localhost:5000', 'http://localhost:7000']",
            "urls = 'http://localhost:5000,http://localhost:7000'",
            "urls = ' http://localhost:5000 , http://localhost:7000 '",
        ] {
            assert_eq!(read(text).unwrap(), two, "{text}");
        }
        assert!(read("").unwrap().is_empty());
        assert!(read("urls = []").unwrap().is_empty());
    }

    #[test]
    fn what_is_neither_is_refused_without_its_text() {
        for text in [
            "urls = 3",
            "urls = [3]",
            "urls = ''",
            "urls = 'http://localhost:5000,'",
            "urls = 'http://localhost:5000 s3cret'",
            "urls = ['http://localhost:5000,http://localhost:7000 s3cret']",
        ] {
            let error = read(text).unwrap_err();
            assert!(!error.message().contains("s3cret"), "{text}: {error}");
        }
    }
}
