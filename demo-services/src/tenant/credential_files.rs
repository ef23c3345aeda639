//! The credential of a registered application: an RSA key and a certificate that it signs itself. The key is made here and stays here.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use local_authority::certificate_validity;
use rcgen::{
    CertificateParams, DistinguishedName, DnType, KeyPair, KeyUsagePurpose, PKCS_RSA_SHA256,
    RsaKeySize, SerialNumber,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::SecretString;
use uuid::Uuid;

use super::plan::Certificate;

const DAY: u64 = 86_400;
/// Days that a credential is good for when nothing else is said.
pub const DEFAULT_DAYS: u16 = 365;
/// The clock of this machine may be ahead of the authority's by so many seconds.
const BACKDATED: u64 = 600;
/// One that ends within so many seconds is not registered any more.
const RENEWAL: u64 = 30 * DAY;

/// No key could be made.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("no key and certificate could be made")]
pub struct MakeError;

/// Where keys come from.
pub type KeySource = fn() -> Result<KeyPair, MakeError>;

/// A certificate and its key, each as PEM.
pub(super) struct Pair {
    pub(super) certificate: String,
    /// PKCS #8.
    pub(super) private_key: SecretString,
}

/// A new RSA key of 2048 bits.
///
/// # Errors
///
/// The system gives no randomness.
pub fn new_key() -> Result<KeyPair, MakeError> {
    KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048).map_err(|_| MakeError)
}

/// `CN=<name>`, good for so many days from `now` (seconds since 1970).
pub(super) fn make(name: &str, now: u64, days: u16, key: &KeyPair) -> Result<Pair, MakeError> {
    let (start, end) = (now.saturating_sub(BACKDATED), after(now, days));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = epoch + Duration::from_secs(start);
    params.not_after = epoch + Duration::from_secs(end);
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    // RFC 5280 section 4.1.2.2: no two of an issuer have the same.
    params.serial_number = Some(SerialNumber::from_slice(Uuid::new_v4().as_bytes()));
    let certificate = params.self_signed(key).map_err(|_| MakeError)?;
    Ok(Pair {
        certificate: pem("CERTIFICATE", certificate.der()),
        private_key: pem("PRIVATE KEY", &key.serialize_der()).into(),
    })
}

/// The first certificate of a text and the first key of another, or of the same.
pub(super) fn pair(certificate: &str, private_key: &str) -> Option<Pair> {
    let certificate = CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?;
    let private_key = PrivateKeyDer::from_pem_slice(private_key.as_bytes()).ok()?;
    Some(Pair {
        certificate: pem("CERTIFICATE", &certificate),
        private_key: pem("PRIVATE KEY", private_key.secret_der()).into(),
    })
}

/// The certificate of a text, if it belongs to the key and is good for a while from `now` on. Its times are those in the certificate.
pub(super) fn read(certificate: &str, private_key: &str, now: u64) -> Option<Certificate> {
    tower_bearer::Certificate::from_pem(certificate.as_bytes(), private_key.as_bytes()).ok()?;
    let time = certificate_validity(certificate.as_bytes())?;
    let [start, end] = [*time.start(), *time.end()].map(|time| u64::try_from(time).ok());
    let (start, end) = (start?, end?);
    if end <= now.saturating_add(RENEWAL) {
        return None;
    }
    let der = CertificateDer::from_pem_slice(certificate.as_bytes()).ok()?;
    Some(Certificate {
        der: der.to_vec(),
        start: date_time(start),
        end: date_time(end),
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

    fn made() -> Pair {
        make("demo-daemon", NOW, DEFAULT_DAYS, &new_key().unwrap()).unwrap()
    }

    fn take(certificate: &Pair, key: &Pair, now: u64) -> Option<Certificate> {
        read(
            &certificate.certificate,
            key.private_key.expose_secret(),
            now,
        )
    }

    #[test]
    fn key_and_certificate_belong_together_and_no_two_are_the_same() {
        let (one, other) = (made(), made());
        let taken = take(&one, &one, NOW).unwrap();
        assert_eq!(
            (&*taken.start, &*taken.end),
            ("2026-11-22T03:39:26Z", "2027-11-22T03:49:26Z")
        );
        assert!(taken.der.windows(11).any(|part| part == b"demo-daemon"));
        assert!(take(&other, &other, NOW).is_some() && take(&one, &other, NOW).is_none());
        assert!(!one.certificate.contains("PRIVATE"));
        // Both in one text.
        let both = format!("{}{}", one.certificate, one.private_key.expose_secret());
        let again = pair(&both, &both).unwrap();
        assert_eq!(again.certificate, one.certificate);
        assert!(take(&again, &one, NOW).is_some());
    }

    #[test]
    fn one_that_is_about_to_end_is_not_taken_whatever_is_written_beside_it() {
        let mut made = made();
        let last = after(NOW, DEFAULT_DAYS) - RENEWAL;
        assert!(take(&made, &made, last - 1).is_some());
        assert!(take(&made, &made, last).is_none());
        made.certificate
            .insert_str(0, "Not after: 2099-01-01T00:00:00Z\n");
        assert!(take(&made, &made, NOW).is_some());
        assert!(take(&made, &made, last).is_none());
        made.certificate = made.certificate.replace("CERTIFICATE", "X");
        assert!(take(&made, &made, NOW).is_none());
    }
}
