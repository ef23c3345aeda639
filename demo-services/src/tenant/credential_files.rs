//! The credential of a registered application: an RSA key and a certificate that it signs itself. The key is made here and stays here.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256,
    RsaKeySize,
};
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject as _;
use secrecy::SecretString;

use super::files::MARK;
use super::plan::Certificate;

const DAY: u64 = 86_400;
/// Days that a credential is good for when nothing else is said.
pub const DEFAULT_DAYS: u16 = 365;
/// The clock of this machine may be ahead of the authority's by so many seconds.
const BACKDATED: u64 = 600;
/// One that ends within so many seconds is not registered any more.
const RENEWAL: u64 = 30 * DAY;
/// What stands before the times in the file of a certificate.
const START: &str = "Not before: ";
const END: &str = "Not after: ";

/// No key could be made.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no key and certificate could be made")]
pub struct MakeError;

/// Texts of the two files.
pub(super) struct Made {
    /// The certificate as PEM, with its times in words before it (RFC 7468 section 5.2 allows such text).
    pub(super) certificate: String,
    /// The private key as PEM (PKCS #8).
    pub(super) private_key: SecretString,
}

/// RSA 2048, `CN=<name>`, good for so many days from `now` (seconds since 1970).
pub(super) fn make(name: &str, now: u64, days: u16) -> Result<Made, MakeError> {
    let (start, end) = (now.saturating_sub(BACKDATED), after(now, days));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = epoch + Duration::from_secs(start);
    params.not_after = epoch + Duration::from_secs(end);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    let key = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048);
    let key = key.map_err(|_| MakeError)?;
    let certificate = params.self_signed(&key).map_err(|_| MakeError)?;
    let pem_of_certificate = pem("CERTIFICATE", certificate.der());
    let (start, end) = (date_time(start), date_time(end));
    Ok(Made {
        certificate: format!(
            "{MARK} for {name}.\n{START}{start}\n{END}{end}\n{pem_of_certificate}"
        ),
        private_key: format!(
            "{MARK} for {name}. Keep it secret.\n{}",
            pem("PRIVATE KEY", &key.serialize_der())
        )
        .into(),
    })
}

/// The certificate in a file that [`make`] has made, if it belongs to the key and is good for a while from `now` on.
pub(super) fn read(certificate: &str, private_key: &str, now: u64) -> Option<Certificate> {
    tower_bearer::Certificate::from_pem(certificate.as_bytes(), private_key.as_bytes()).ok()?;
    let line = |name: &str| {
        let mut lines = certificate.lines();
        lines.find_map(|line| line.strip_prefix(name))
    };
    let (start, end) = (line(START)?, line(END)?);
    // In this form the order of texts is the order of times.
    if !is_date_time(start) || !is_date_time(end) || end <= &*date_time(now.saturating_add(RENEWAL))
    {
        return None;
    }
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?;
    Some(Certificate {
        der: der.to_vec(),
        start: start.to_owned(),
        end: end.to_owned(),
    })
}

/// So many days after `now`.
pub(super) fn after(now: u64, days: u16) -> u64 {
    now.saturating_add(u64::from(days) * DAY)
}

/// `2026-11-26T03:24:49Z`, as Graph has it.
pub(super) fn date_time(seconds: u64) -> String {
    let at = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(seconds);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

fn is_date_time(text: &str) -> bool {
    let form = "0000-00-00T00:00:00Z";
    let digits = |letter: char| if letter.is_ascii_digit() { '0' } else { letter };
    text.chars().map(digits).eq(form.chars())
}

/// RFC 7468 section 2.
fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    for (at, letter) in text.chars().enumerate() {
        if at > 0 && at % 64 == 0 {
            pem.push('\n');
        }
        pem.push(letter);
    }
    pem.push_str(&format!("\n-----END {label}-----\n"));
    pem
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    const NOW: u64 = 1_795_319_366;

    #[test]
    fn key_and_certificate_belong_together_and_no_two_are_the_same() {
        let [one, other] = [0, 1].map(|_| make("demo-middle-tier", NOW, 365).unwrap());
        let take = |certificate: &Made, key: &Made| {
            read(
                &certificate.certificate,
                key.private_key.expose_secret(),
                NOW,
            )
        };
        let taken = take(&one, &one).unwrap();
        assert_eq!(
            (&*taken.start, &*taken.end),
            ("2026-11-22T03:39:26Z", "2027-11-22T03:49:26Z")
        );
        assert!(
            taken
                .der
                .windows(16)
                .any(|part| part == b"demo-middle-tier")
        );
        assert!(take(&other, &other).is_some() && take(&one, &other).is_none());
        assert!(!one.certificate.contains("PRIVATE"));
    }

    #[test]
    fn one_that_is_about_to_end_or_says_nothing_is_not_taken() {
        let made = make("demo-daemon", NOW, 365).unwrap();
        let key = made.private_key.expose_secret();
        let last = NOW + 365 * DAY - RENEWAL;
        assert!(read(&made.certificate, key, last - 1).is_some());
        assert!(read(&made.certificate, key, last).is_none());
        for (from, to) in [(END, "Until: "), ("Z\n", "\n"), ("CERTIFICATE", "X")] {
            let text = made.certificate.replace(from, to);
            assert!(read(&text, key, NOW).is_none(), "{from}");
        }
    }
}
