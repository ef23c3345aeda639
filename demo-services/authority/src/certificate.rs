//! What is needed of a client's X.509 certificate (RFC 5280): two thumbprints, an RSA key, and the time it is good for.
//!
//! Of a self-signed certificate nothing is checked but its key, its time and its thumbprint, and no chain is built; so a walk over the
//! first level of its fields is all that is read. The parsers that there are either bring a family of crates along (x509-parser) or do
//! not tell the time (rustls-webpki).

use std::ops::RangeInclusive;

use aws_lc_rs::digest::{self, Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use aws_lc_rs::rsa::PublicEncryptingKey;
use aws_lc_rs::signature::{
    RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaParameters, UnparsedPublicKey,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;

use crate::calendar;

/// The line with which a certificate in PEM (RFC 7468) begins.
pub(crate) const BEGIN: &str = "-----BEGIN CERTIFICATE-----";

/// A certificate with an RSA key of 2048 bits or more.
pub(crate) struct Certificate {
    sha1: Digest,
    sha256: Digest,
    /// DER `SubjectPublicKeyInfo`.
    public_key: Vec<u8>,
    /// Seconds since 1970; negative before.
    not_before: i64,
    not_after: i64,
}

/// How a client signs its assertions (RFC 7518 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Algorithm {
    Ps256,
    Rs256,
}

/// Why a text is no certificate that a client may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadCertificate {
    #[error("not a certificate in PEM")]
    Pem,
    #[error(
        "more than one certificate, or more than a certificate; a private key never belongs here"
    )]
    More,
    #[error("not a readable X.509 certificate")]
    X509,
    #[error("the key of the certificate is not RSA with 2048 to 8192 bits")]
    Key,
}

impl Certificate {
    /// Reads PEM text that holds one certificate and nothing else.
    pub(crate) fn parse(pem: &str) -> Result<Self, BadCertificate> {
        let pem = pem.trim_start();
        if pem.matches("-----BEGIN ").count() > 1 {
            return Err(BadCertificate::More);
        }
        if !pem.starts_with(BEGIN) {
            return Err(BadCertificate::Pem);
        }
        Self::from_der(
            &CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|_| BadCertificate::Pem)?,
        )
    }

    fn from_der(der: &[u8]) -> Result<Self, BadCertificate> {
        let Fields {
            public_key,
            not_before,
            not_after,
        } = fields(der).ok_or(BadCertificate::X509)?;
        let key = PublicEncryptingKey::from_der(public_key).map_err(|_| BadCertificate::Key)?;
        if !(2048..=8192).contains(&key.key_size_bits()) {
            return Err(BadCertificate::Key);
        }
        Ok(Self {
            sha1: digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, der),
            sha256: digest::digest(&SHA256, der),
            public_key: public_key.to_vec(),
            not_before,
            not_after,
        })
    }

    /// The thumbprint in the portal, and in `x5t`.
    pub(crate) fn sha1(&self) -> &[u8] {
        self.sha1.as_ref()
    }

    /// The thumbprint in `x5t#S256`.
    pub(crate) fn sha256(&self) -> &[u8] {
        self.sha256.as_ref()
    }

    /// RFC 5280 section 4.1.2.5: both ends belong to the time.
    pub(crate) fn is_within_its_time(&self, now: u64) -> bool {
        i64::try_from(now).is_ok_and(|now| (self.not_before..=self.not_after).contains(&now))
    }

    pub(crate) fn verifies(&self, algorithm: Algorithm, input: &[u8], signature: &[u8]) -> bool {
        let parameters: &'static RsaParameters = match algorithm {
            Algorithm::Ps256 => &RSA_PSS_2048_8192_SHA256,
            Algorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
        };
        UnparsedPublicKey::new(parameters, &self.public_key)
            .verify(input, signature)
            .is_ok()
    }
}

/// The first certificate of a PEM file, alone: a chain and above all a private key stay in the file.
pub(crate) fn first(file: &[u8]) -> Result<String, BadCertificate> {
    CertificateDer::from_pem_slice(file)
        .map(|der| pem(&der))
        .map_err(|_| BadCertificate::Pem)
}

/// When the first certificate of a PEM file ends (RFC 5280 section 4.1.2.5), in seconds since 1970; `None` for what no client may use.
#[must_use]
pub fn not_after(file: &[u8]) -> Option<i64> {
    validity(file).map(|time| *time.end())
}

/// The time that the first certificate of a PEM file is good for (RFC 5280 section 4.1.2.5), in seconds since 1970, both ends included;
/// `None` for what no client may use.
#[must_use]
pub fn validity(file: &[u8]) -> Option<RangeInclusive<i64>> {
    let certificate = Certificate::parse(&first(file).ok()?).ok()?;
    Some(certificate.not_before..=certificate.not_after)
}

/// A certificate's DER as PEM text, in lines of 64 letters (RFC 7468 section 3).
pub(crate) fn pem(der: &[u8]) -> String {
    let mut text = format!("{BEGIN}\n");
    let mut encoded = STANDARD.encode(der);
    while encoded.len() > 64 {
        let rest = encoded.split_off(64);
        text.push_str(&encoded);
        text.push('\n');
        encoded = rest;
    }
    text.push_str(&encoded);
    text.push_str("\n-----END CERTIFICATE-----\n");
    text
}

struct Fields<'a> {
    public_key: &'a [u8],
    not_before: i64,
    not_after: i64,
}

/// RFC 5280 section 4.1.
fn fields(der: &[u8]) -> Option<Fields<'_>> {
    let mut outside = Der(der);
    let mut certificate = Der(outside.content(SEQUENCE)?);
    let mut signed = Der(certificate.content(SEQUENCE)?);
    if signed.tag() == Some(VERSION) {
        signed.content(VERSION)?;
    }
    signed.content(INTEGER)?; // serial number
    signed.content(SEQUENCE)?; // algorithm
    signed.content(SEQUENCE)?; // issuer
    let mut validity = Der(signed.content(SEQUENCE)?);
    let (not_before, not_after) = (validity.time()?, validity.time()?);
    signed.content(SEQUENCE)?; // subject
    let (public_key, _) = signed.element(SEQUENCE)?;
    certificate.content(SEQUENCE)?; // algorithm
    certificate.content(BIT_STRING)?; // signature
    [outside, certificate, validity]
        .iter()
        .all(|rest| rest.0.is_empty())
        .then_some(Fields {
            public_key,
            not_before,
            not_after,
        })
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// What is left of some DER.
struct Der<'a>(&'a [u8]);

impl<'a> Der<'a> {
    fn tag(&self) -> Option<u8> {
        self.0.first().copied()
    }

    /// The next element, whole and without its head, if it has this tag.
    fn element(&mut self, tag: u8) -> Option<(&'a [u8], &'a [u8])> {
        let (found, rest) = self.0.split_first()?;
        let (first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(*first), rest),
            // Up to 16 MiB; the shortest form is the only one (X.690 section 10.1).
            0x81..=0x83 => {
                let (bytes, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
                let length = bytes
                    .iter()
                    .fold(0, |length, byte| length << 8 | usize::from(*byte));
                let shortest = bytes.first() != Some(&0) && length >= 0x80;
                (shortest.then_some(length)?, rest)
            }
            _ => return None,
        };
        let (content, rest) = rest.split_at_checked(length)?;
        let (whole, _) = self.0.split_at_checked(self.0.len() - rest.len())?;
        self.0 = rest;
        (*found == tag).then_some((whole, content))
    }

    fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.element(tag).map(|(_, content)| content)
    }

    /// Seconds since 1970 (RFC 5280 section 4.1.2.5): always with seconds, always in UTC.
    fn time(&mut self) -> Option<i64> {
        let tag = self.tag()?;
        let text = std::str::from_utf8(self.content(tag)?).ok()?;
        let text = text.strip_suffix('Z')?;
        let (year, rest) = match tag {
            UTC_TIME => {
                let (year, rest) = text.split_at_checked(2)?;
                let year = digits(year)?;
                (if year < 50 { 2000 } else { 1900 } + year, rest)
            }
            GENERALIZED_TIME => {
                let (year, rest) = text.split_at_checked(4)?;
                (digits(year)?, rest)
            }
            _ => return None,
        };
        let mut rest = (rest.len() == 10).then_some(rest)?;
        let mut next = || {
            let (two, others) = rest.split_at_checked(2)?;
            rest = others;
            digits(two)
        };
        let (month, day) = (next()?, next()?);
        let (hour, minute, second) = (next()?, next()?, next()?);
        calendar::seconds((year, month, day), (hour, minute, second))
    }
}

fn digits(text: &str) -> Option<i64> {
    text.bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| text.parse().ok())?
}

/// Certificates for the tests of this crate.
#[cfg(test)]
pub(crate) mod made {
    use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
    use rcgen::CertificateParams;

    use super::{Algorithm, STANDARD, first};
    use base64::Engine as _;

    /// A self-signed certificate and its private key.
    pub(crate) struct Made {
        pub(crate) pem: String,
        pub(crate) der: Vec<u8>,
        pub(crate) key: RsaKeyPair,
    }

    impl Made {
        /// Good from the start of one year to the start of another.
        pub(crate) fn between(from: i32, to: i32) -> Self {
            let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
            let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
            let mut params = CertificateParams::default();
            params.not_before = rcgen::date_time_ymd(from, 1, 1);
            params.not_after = rcgen::date_time_ymd(to, 1, 1);
            let private = rcgen::KeyPair::try_from(private.as_ref()).unwrap();
            let der = params.self_signed(&private).unwrap().der().to_vec();
            let pem = one_line("CERTIFICATE", &der);
            Self { pem, der, key }
        }

        pub(crate) fn sign(&self, algorithm: Algorithm, input: &[u8]) -> Vec<u8> {
            let encoding: &dyn RsaEncoding = match algorithm {
                Algorithm::Ps256 => &RSA_PSS_SHA256,
                Algorithm::Rs256 => &RSA_PKCS1_SHA256,
            };
            let mut signature = vec![0; self.key.public_modulus_len()];
            self.key
                .sign(encoding, &SystemRandom::new(), input, &mut signature)
                .unwrap();
            signature
        }
    }

    /// In one line, so that `first` has something to do.
    pub(crate) fn one_line(label: &str, der: &[u8]) -> String {
        let text = STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    }

    /// A certificate with a key that is not RSA.
    pub(crate) fn elliptic() -> String {
        let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let certificate = CertificateParams::default().self_signed(&key).unwrap();
        first(one_line("CERTIFICATE", certificate.der()).as_bytes()).unwrap()
    }

    /// RSA with 1024 bits, as no library here makes it any more.
    pub(crate) const WEAK: &str = "-----BEGIN CERTIFICATE-----\n\
        MIIB/DCCAWWgAwIBAgIUOa6WSS8m6m4R9BTPaQNiLikIrKUwDQYJKoZIhvcNAQEL\n\
        BQAwDzENMAsGA1UEAwwEd2VhazAgFw0yNjExMjUyMzMxNTVaGA8yMTI2MTEwMTIz\n\
        MzE1NVowDzENMAsGA1UEAwwEd2VhazCBnzANBgkqhkiG9w0BAQEFAAOBjQAwgYkC\n\
        gYEA3wN2NouA2RCnyu6QZhz7TslK+A6kWULi22H9dLqIjUb5S6ga9V4QKX7NZKV8\n\
        sGiUDp3nbB8L1pwXjHSF7pTHJOceGZwi7UhHqyin+1thNIH9+y+2/GpvTQB5IRL+\n\
        r9dearYkr3Gph07k9YhbrzBzKRCDm+8LoOXl9bXr9TGyejcCAwEAAaNTMFEwHQYD\n\
        VR0OBBYEFJrLOuuCG1GqlPFD7kRqsaIYCZwIMB8GA1UdIwQYMBaAFJrLOuuCG1Gq\n\
        lPFD7kRqsaIYCZwIMA8GA1UdEwEB/wQFMAMBAf8wDQYJKoZIhvcNAQELBQADgYEA\n\
        purvZN8uk1aZn06MyXm3MdkLesAglArJRkDhYBajCe2uhsuZxWDp4ewdUoHek7g7\n\
        j7KUyDCzxvWBsU/NJDw8U/hmG5Eld6GrfHOyYxlfWd0HGH8U0/J6w9OwAfeWgpua\n\
        nzl/oziReY1ozoelHLaKxAbCSvufluc6dQqddMLJt/U=\n\
        -----END CERTIFICATE-----\n";
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::made::{Made, WEAK, elliptic, one_line};
    use super::*;
    use crate::clock;

    static MADE: LazyLock<Made> = LazyLock::new(|| Made::between(2020, 2060));

    fn error(pem: &str) -> Option<BadCertificate> {
        Certificate::parse(pem).err()
    }

    #[test]
    fn a_certificate_verifies_what_its_key_signed_with_the_algorithm_that_is_named() {
        let certificate = Certificate::parse(&MADE.pem).unwrap();
        for (signs, other) in [
            (Algorithm::Ps256, Algorithm::Rs256),
            (Algorithm::Rs256, Algorithm::Ps256),
        ] {
            let signature = MADE.sign(signs, b"text");
            assert!(certificate.verifies(signs, b"text", &signature));
            assert!(!certificate.verifies(other, b"text", &signature));
            assert!(!certificate.verifies(signs, b"Text", &signature));
        }
        assert_eq!(
            certificate.sha256(),
            digest::digest(&SHA256, &MADE.der).as_ref()
        );
        assert_eq!(certificate.sha1().len(), 20);
    }

    #[test]
    fn the_time_of_a_certificate_includes_both_ends() {
        // 2020 is written as UTCTime, 2060 as GeneralizedTime.
        let certificate = Certificate::parse(&MADE.pem).unwrap();
        let (from, to) = (1_577_836_800, 2_840_140_800);
        assert_eq!(clock::timestamp(from), "2020-01-01 00:00:00Z");
        assert_eq!(clock::timestamp(to), "2060-01-01 00:00:00Z");
        assert!(certificate.is_within_its_time(from) && certificate.is_within_its_time(to));
        assert!(!certificate.is_within_its_time(from - 1));
        assert!(!certificate.is_within_its_time(to + 1));
        assert!(!certificate.is_within_its_time(u64::MAX));
    }

    #[test]
    fn what_is_no_certificate_for_a_client_is_refused() {
        assert_eq!(error(&MADE.pem), None);
        assert_eq!(error(&format!("\n  {}", MADE.pem)), None);
        for (text, why) in [
            (String::new(), BadCertificate::Pem),
            ("certs/middle.pem".to_owned(), BadCertificate::Pem),
            (BEGIN.to_owned(), BadCertificate::Pem),
            (one_line("CERTIFICATE", b"junk"), BadCertificate::X509),
            (
                one_line("CERTIFICATE", &[&MADE.der[..], b"x"].concat()),
                BadCertificate::X509,
            ),
            (one_line("PUBLIC KEY", &MADE.der), BadCertificate::Pem),
            (format!("{}{}", MADE.pem, MADE.pem), BadCertificate::More),
            (
                format!("{}{}", MADE.pem, one_line("PRIVATE KEY", b"x")),
                BadCertificate::More,
            ),
            (WEAK.to_owned(), BadCertificate::Key),
            (elliptic(), BadCertificate::Key),
        ] {
            assert_eq!(error(&text), Some(why), "{text}");
        }
    }

    #[test]
    fn of_a_file_only_the_first_certificate_is_taken() {
        let secret = one_line("PRIVATE KEY", b"secret");
        let file = format!("# ours\n{secret}{}{WEAK}", MADE.pem);
        let text = first(file.as_bytes()).unwrap();
        let certificate = Certificate::parse(&text).unwrap();
        assert_eq!(
            certificate.sha256(),
            Certificate::parse(&MADE.pem).unwrap().sha256()
        );
        assert!(text.lines().all(|line| line.len() <= 64));
        assert!(first(secret.as_bytes()).is_err() && first(&[0xff, 0]).is_err());
    }

    #[test]
    fn times_follow_the_calendar() {
        let time = |tag: u8, text: &str| {
            let mut der = vec![tag, u8::try_from(text.len()).unwrap()];
            der.extend(text.bytes());
            Der(&der).time()
        };
        for (tag, text, seconds) in [
            (UTC_TIME, "700101000000Z", Some(0)),
            (UTC_TIME, "500101000000Z", Some(-631_152_000)),
            (UTC_TIME, "491231235959Z", Some(2_524_607_999)),
            (GENERALIZED_TIME, "20000229000000Z", Some(951_782_400)),
            (GENERALIZED_TIME, "21000301000000Z", Some(4_107_542_400)),
            (GENERALIZED_TIME, "99991231235959Z", Some(253_402_300_799)),
            (UTC_TIME, "20000229000000Z", None),
            (UTC_TIME, "701301000000Z", None),
            (UTC_TIME, "700100000000Z", None),
            (UTC_TIME, "700229000000Z", None),
            (UTC_TIME, "700101240000Z", None),
            (UTC_TIME, "7001010000Z", None),
            (UTC_TIME, "700101000000+0000", None),
            (UTC_TIME, "+70101000000Z", None),
            (GENERALIZED_TIME, "19700101000000.5Z", None),
            (INTEGER, "700101000000Z", None),
        ] {
            assert_eq!(time(tag, text), seconds, "{text}");
        }
    }

    #[test]
    fn lengths_have_one_form() {
        let content = |der: &[u8]| Der(der).content(SEQUENCE).map(<[u8]>::len);
        assert_eq!(content(&[0x30, 0]), Some(0));
        assert_eq!(
            content(&[&[0x30, 0x81, 0x80][..], &[0; 128]].concat()),
            Some(128)
        );
        for bad in [
            &[0x30][..],
            &[0x30, 1],
            &[0x30, 0x80, 0, 0],
            &[0x30, 0x81, 1, 0],
            &[0x30, 0x82, 0, 1, 0],
            &[0x30, 0x84, 0, 0, 0, 1, 0],
            &[0x31, 0],
        ] {
            assert_eq!(content(bad), None, "{bad:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = Certificate::from_der(&bytes);
            let _ = first(&bytes);
        }

        #[test]
        fn no_changed_certificate_panics(at in 0..4096_usize, byte: u8) {
            let mut der = MADE.der.clone();
            let at = at % der.len();
            der[at] = byte;
            let _ = Certificate::from_der(&der);
            der.truncate(at);
            proptest::prop_assert!(Certificate::from_der(&der).is_err());
        }
    }
}
