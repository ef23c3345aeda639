//! Query strings and form bodies: decoded strictly, so that what is echoed is what came in.

use uuid::Uuid;

/// Why a query or a form was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FormError {
    /// RFC 6749 section 3.1: parameters must not be included more than once.
    Repeated,
    /// Not UTF-8, a broken percent-encoding, or too many parameters.
    Malformed,
}

/// Decoded `application/x-www-form-urlencoded` pairs.
#[derive(Clone, Default)]
pub(crate) struct Form(Vec<(String, String)>);

const MAX_PAIRS: usize = 64;

impl Form {
    pub(crate) fn parse(text: &[u8]) -> Result<Self, FormError> {
        let mut pairs = Vec::new();
        for pair in text
            .split(|byte| *byte == b'&')
            .filter(|pair| !pair.is_empty())
        {
            if pairs.len() == MAX_PAIRS {
                return Err(FormError::Malformed);
            }
            let mut halves = pair.splitn(2, |byte| *byte == b'=');
            let name = decode(halves.next().unwrap_or_default())?;
            let value = decode(halves.next().unwrap_or_default())?;
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(FormError::Repeated);
            }
            pairs.push((name, value));
        }
        Ok(Self(pairs))
    }

    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// RFC 6749 section 3.1: parameters sent without a value must be treated as if they were omitted.
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(known, value)| known == name && !value.is_empty())
            .map(|(_, value)| value.as_str())
    }
}

/// Percent-decoding of one name or value; also used for the halves of HTTP Basic credentials (RFC 6749 section 2.3.1).
pub(crate) fn decode(text: &[u8]) -> Result<String, FormError> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.iter();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let mut digit = || {
                    rest.next()
                        .and_then(|digit| char::from(*digit).to_digit(16))
                        .ok_or(FormError::Malformed)
                };
                let value = digit()? * 16 + digit()?;
                u8::try_from(value).map_err(|_| FormError::Malformed)?
            }
            other => *other,
        });
    }
    String::from_utf8(bytes).map_err(|_| FormError::Malformed)
}

/// A GUID with its hyphens: in braces, as a URN or without hyphens it is another text.
pub(crate) fn guid(text: &str) -> Option<Uuid> {
    let hyphenated = text.len() == uuid::fmt::Hyphenated::LENGTH;
    hyphenated.then(|| Uuid::parse_str(text).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guid_has_one_form() {
        let id = Uuid::from_u128(0x3edd_1e00_0000_4000_8000_0000_0000_5000);
        assert_eq!(guid(&id.to_string()), Some(id));
        for other in [
            id.braced().to_string(),
            id.urn().to_string(),
            id.simple().to_string(),
            format!(" {id}"),
            String::new(),
        ] {
            assert_eq!(guid(&other), None, "{other}");
        }
    }

    #[test]
    fn values_are_decoded_once() {
        let form = Form::parse(b"state=a%2Bb%20c+d%C3%A9%25&empty=&flag").unwrap();
        assert_eq!(form.get("state"), Some("a+b c d\u{e9}%"));
        assert_eq!(form.get("empty"), None);
        assert_eq!(form.get("flag"), None);
    }

    #[test]
    fn what_cannot_be_echoed_is_refused() {
        for (text, error) in [
            (&b"state=%FF"[..], FormError::Malformed),
            (b"state=%2", FormError::Malformed),
            (b"state=%zz", FormError::Malformed),
            (b"state=a&state=b", FormError::Repeated),
        ] {
            assert_eq!(Form::parse(text).err(), Some(error));
        }
        let many: String = (0..80).map(|index| format!("p{index}=1&")).collect();
        assert_eq!(
            Form::parse(many.as_bytes()).err(),
            Some(FormError::Malformed)
        );
    }

    proptest::proptest! {
        #[test]
        fn parsing_undoes_what_another_implementation_prints(values in proptest::collection::vec(".*", 0..20)) {
            let names: Vec<_> = (0..values.len()).map(|index| format!("p {index}")).collect();
            let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(names.iter().zip(&values)).finish();
            let form = Form::parse(text.as_bytes()).unwrap();
            for (name, value) in names.iter().zip(&values) {
                assert_eq!(form.get(name).unwrap_or_default(), value);
            }
        }

        #[test]
        fn nothing_panics(text in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Form::parse(&text);
        }
    }
}
