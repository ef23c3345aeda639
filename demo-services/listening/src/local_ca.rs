//! A certificate for this machine's own names, and the CA that vouches for it. The CA's key is thrown away once it has signed that one
//! certificate: whoever trusts the CA trusts nothing else.

use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CidrSubnet, DnType,
    ExtendedKeyUsagePurpose, GeneralSubtree, IsCa, KeyPair, KeyUsagePurpose, NameConstraints,
};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::client::WebPkiServerVerifier;
use tokio_rustls::rustls::client::danger::ServerCertVerifier as _;

use crate::tls::{Tls, TlsError, provider};

const DAY: u64 = 86_400;
/// Longer would be refused by clients that hold local CAs to what they ask of public ones.
const LIFETIME: u64 = 397 * DAY;
/// A certificate that ends sooner than this is replaced: it should not end while a service runs.
const RENEWAL: u64 = 7 * DAY;
/// Clocks of virtual machines on the same host differ by this much.
const BACKDATED: u64 = DAY;
/// What the certificate is good for.
const NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

const CA_FILE: &str = "ca.pem";
const CERTIFICATE_FILE: &str = "localhost.pem";
const KEY_FILE: &str = "localhost-key.pem";
const LOCK_FILE: &str = ".lock";
const PROBE_FILE: &str = ".probe";

/// A CA that has signed one certificate, for `localhost`, `127.0.0.1` and `::1`, and is constrained to such names.
///
/// ```
/// # use listening::LocalCa;
/// // Time is given in seconds since 1970.
/// let ca = LocalCa::in_memory(1_795_319_366)?;
/// assert!(ca.pem().starts_with("-----BEGIN CERTIFICATE-----"));
/// # Ok::<(), listening::LocalCaError>(())
/// ```
pub struct LocalCa {
    ca: String,
    certificate: String,
    key: String,
    new: bool,
}

/// Why there is no local CA.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LocalCaError {
    /// No key or certificate could be made.
    #[error("a certificate for localhost could not be made")]
    Make(#[from] rcgen::Error),
    /// Somebody else could have put a CA of his own there, which would then be trusted.
    #[error("others can write to {}, or own it: use a directory of your own, of mode 700", path.display())]
    #[non_exhaustive]
    NotOurs {
        /// Which one.
        path: PathBuf,
    },
    /// A file can be neither read nor written.
    #[error("cannot use {} for the local CA", path.display())]
    #[non_exhaustive]
    File {
        /// Which one.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl fmt::Debug for LocalCa {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LocalCa(..)")
    }
}

impl LocalCa {
    /// A new one that is written nowhere, for tests.
    ///
    /// # Errors
    ///
    /// No key could be made.
    pub fn in_memory(now: u64) -> Result<Self, LocalCaError> {
        let epoch = rcgen::date_time_ymd(1970, 1, 1);
        let valid = |mut params: CertificateParams, name: &str| {
            params.not_before = epoch + Duration::from_secs(now.saturating_sub(BACKDATED));
            params.not_after = epoch + Duration::from_secs(now.saturating_add(LIFETIME));
            params.distinguished_name.push(DnType::CommonName, name);
            params
        };
        let mut ca = valid(
            CertificateParams::new(Vec::new())?,
            "tower-bearer local CA (this machine's demos and tests)",
        );
        ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        ca.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        ca.name_constraints = Some(NameConstraints {
            permitted_subtrees: vec![
                GeneralSubtree::DnsName("localhost".to_owned()),
                GeneralSubtree::IpAddress(CidrSubnet::from_v4_prefix([127, 0, 0, 0], 8)),
                GeneralSubtree::IpAddress(CidrSubnet::from_v6_prefix(
                    [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
                    128,
                )),
            ],
            excluded_subtrees: Vec::new(),
        });
        let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate()?)?;
        let names: Vec<String> = NAMES.map(str::to_owned).into();
        let mut server = valid(CertificateParams::new(names)?, "localhost");
        server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        server.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        server.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate()?;
        let certificate = server.signed_by(&key, &ca)?;
        Ok(Self {
            ca: pem("CERTIFICATE", ca.der()),
            certificate: pem("CERTIFICATE", certificate.der()),
            key: pem("PRIVATE KEY", key.serialized_der()),
            new: true,
        })
    }

    /// The one that is kept in `directory`, which is made where it is missing; a new one where there is none, or where what is there is
    /// not whole, or ends within a week. Its files are `ca.pem`, to be trusted, and `localhost.pem` and `localhost-key.pem` for servers,
    /// all of mode 600. Processes that start at once get the same one.
    ///
    /// # Errors
    ///
    /// The directory or a file can be neither read nor written; on Unix also if another user owns it or can write to it.
    pub fn in_directory(directory: impl AsRef<Path>, now: u64) -> Result<Self, LocalCaError> {
        let directory = directory.as_ref();
        own_directory()
            .create(directory)
            .map_err(failed(directory))?;
        let lock = directory.join(LOCK_FILE);
        let held = private(OpenOptions::new().write(true).create(true)).open(&lock);
        let held = held.and_then(|file| file.lock().map(|()| file));
        // Until the end of this function.
        let _held = held.map_err(failed(&lock))?;

        let me = probe(directory)?;
        let check = |path: &Path| -> Result<(), LocalCaError> {
            let found = fs::metadata(path).map_err(failed(path))?;
            match is_ours(&found, &me) {
                true => Ok(()),
                false => Err(LocalCaError::NotOurs { path: path.into() }),
            }
        };
        check(directory)?;
        let read = |name| {
            let path = directory.join(name);
            match fs::read_to_string(&path) {
                Ok(text) => check(&path).map(|()| text),
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
                Err(error) => Err(failed(&path)(error)),
            }
        };
        let kept = Self {
            ca: read(CA_FILE)?,
            certificate: read(CERTIFICATE_FILE)?,
            key: read(KEY_FILE)?,
            new: false,
        };
        if kept.is_good(now) && kept.is_good(now.saturating_add(RENEWAL)) {
            return Ok(kept);
        }
        let new = Self::in_memory(now)?;
        for (name, text) in [
            (KEY_FILE, &new.key),
            (CERTIFICATE_FILE, &new.certificate),
            (CA_FILE, &new.ca),
        ] {
            let path = directory.join(name);
            replace(&path, text).map_err(failed(&path))?;
        }
        Ok(new)
    }

    /// Whether it was made just now, so that nobody can trust it yet.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.new
    }

    /// The file to be trusted, of the CA that is kept in `directory`.
    #[must_use]
    pub fn file_in(directory: &Path) -> PathBuf {
        directory.join(CA_FILE)
    }

    /// The CA's certificate as PEM: what clients must trust.
    #[must_use]
    pub fn pem(&self) -> &str {
        &self.ca
    }

    /// The server's certificate as PEM.
    #[must_use]
    pub fn certificate_pem(&self) -> &str {
        &self.certificate
    }

    /// The server's private key as PEM (PKCS #8).
    #[must_use]
    pub fn key_pem(&self) -> &str {
        &self.key
    }

    /// The server's certificate and key, for [`Listeners::tls`](crate::Listeners::tls).
    ///
    /// # Errors
    ///
    /// Only for files that somebody has changed by hand.
    pub fn tls(&self) -> Result<Tls, TlsError> {
        Tls::from_pem(&self.certificate, &self.key)
    }

    /// Whether a client that trusts the CA takes the certificate for each of the names at that time.
    fn is_good(&self, at: u64) -> bool {
        let check = || {
            let ca = CertificateDer::from_pem_slice(self.ca.as_bytes()).ok()?;
            let certificate = CertificateDer::from_pem_slice(self.certificate.as_bytes()).ok()?;
            PrivateKeyDer::from_pem_slice(self.key.as_bytes()).ok()?;
            let mut roots = RootCertStore::empty();
            roots.add(ca).ok()?;
            let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider());
            let verifier = verifier.build().ok()?;
            let at = UnixTime::since_unix_epoch(Duration::from_secs(at));
            for name in NAMES {
                let name = ServerName::try_from(name).ok()?;
                verifier
                    .verify_server_cert(&certificate, &[], &name, &[], at)
                    .ok()?;
            }
            Some(())
        };
        check().is_some() && self.tls().is_ok()
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> LocalCaError + use<> {
    let path = path.to_owned();
    move |source| LocalCaError::File { path, source }
}

/// Writes a file that only its owner can read; nobody sees half of it.
fn replace(path: &Path, text: &str) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let new = PathBuf::from(new);
    let mut file = made_anew(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)
}

/// A new file, so that mode and owner are ours and no link is followed.
fn made_anew(path: &Path) -> io::Result<File> {
    // What a crash left behind.
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    private(OpenOptions::new().write(true).create_new(true)).open(path)
}

/// What a file of ours in this directory looks like.
fn probe(directory: &Path) -> Result<Metadata, LocalCaError> {
    let path = directory.join(PROBE_FILE);
    let made = made_anew(&path).and_then(|file| file.metadata());
    let made = made.map_err(failed(&path))?;
    fs::remove_file(&path).map_err(failed(&path))?;
    Ok(made)
}

/// Made with all that leads to it, for the owner alone.
fn own_directory() -> DirBuilder {
    let mut builder = DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder
}

/// Of the same owner as `mine`, and nobody else writes to it.
#[cfg(unix)]
fn is_ours(found: &Metadata, mine: &Metadata) -> bool {
    use std::os::unix::fs::MetadataExt as _;
    found.uid() == mine.uid() && found.mode() & 0o022 == 0
}

/// Where users' folders are their own by default.
#[cfg(not(unix))]
fn is_ours(_: &Metadata, _: &Metadata) -> bool {
    true
}

/// For the owner alone, from the first moment on.
fn private(options: &mut OpenOptions) -> &OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

/// RFC 7468 section 2.
fn pem(label: &str, der: &[u8]) -> String {
    use base64::Engine as _;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
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
    use super::*;

    const NOW: u64 = 1_795_319_366;

    /// A path of this test's own, gone when it ends.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("local-ca-{name}-{}", std::process::id());
            Self(std::env::temp_dir().join(name))
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_certificate_is_good_while_it_lasts() {
        let ca = LocalCa::in_memory(NOW).unwrap();
        for (at, good) in [
            (NOW - BACKDATED - 1, false),
            (NOW - BACKDATED, true),
            (NOW + LIFETIME, true),
            (NOW + LIFETIME + 1, false),
        ] {
            assert_eq!(ca.is_good(at), good, "{at}");
        }
    }

    #[test]
    fn a_kept_one_is_used_again_until_it_is_about_to_end() {
        let scratch = Scratch::new("kept");
        let directory = &scratch.0;
        let first = LocalCa::in_directory(directory, NOW).unwrap();
        assert!(first.is_new());
        let file = fs::read_to_string(LocalCa::file_in(directory)).unwrap();
        assert_eq!(file, first.pem());
        let last = NOW + LIFETIME - RENEWAL;
        let again = LocalCa::in_directory(directory, last).unwrap();
        assert_eq!((again.pem(), again.is_new()), (first.pem(), false));
        let renewed = LocalCa::in_directory(directory, last + 1).unwrap();
        assert_ne!(renewed.pem(), first.pem());
    }

    #[test]
    fn what_is_not_whole_is_replaced() {
        let scratch = Scratch::new("damaged");
        let directory = &scratch.0;
        let mut last = LocalCa::in_directory(directory, NOW).unwrap();
        let other = LocalCa::in_memory(NOW).unwrap();
        for (name, text) in [
            (CA_FILE, ""),
            (CA_FILE, other.pem()),
            (CERTIFICATE_FILE, "-----BEGIN"),
            (KEY_FILE, other.key_pem()),
        ] {
            fs::write(directory.join(name), text).unwrap();
            let new = LocalCa::in_directory(directory, NOW).unwrap();
            assert_ne!(new.key_pem(), last.key_pem(), "{name}");
            assert!(new.is_good(NOW));
            last = new;
        }
    }

    #[test]
    fn who_starts_at_once_gets_the_same_one() {
        let scratch = Scratch::new("race");
        let start = std::sync::Barrier::new(4);
        let cas: Vec<LocalCa> = std::thread::scope(|scope| {
            let one = || {
                start.wait();
                LocalCa::in_directory(&scratch.0, NOW).unwrap()
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
            threads.into_iter().map(|one| one.join().unwrap()).collect()
        });
        assert_eq!(cas.iter().filter(|ca| ca.is_new()).count(), 1);
        for ca in &cas {
            assert!(ca.is_good(NOW));
            assert_eq!(ca.key_pem(), cas[0].key_pem());
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_in_the_way_is_not_followed() {
        let scratch = Scratch::new("link");
        let victim = Scratch::new("victim");
        own_directory().create(&scratch.0).unwrap();
        fs::write(&victim.0, "precious").unwrap();
        let link = scratch.0.join(format!("{KEY_FILE}.new"));
        std::os::unix::fs::symlink(&victim.0, link).unwrap();
        LocalCa::in_directory(&scratch.0, NOW).unwrap();
        assert_eq!(fs::read_to_string(&victim.0).unwrap(), "precious");
    }

    #[cfg(unix)]
    #[test]
    fn only_the_owner_reads_the_key() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new("mode");
        let directory = &scratch.0;
        LocalCa::in_directory(directory, NOW).unwrap();
        let mode = fs::metadata(directory.join(KEY_FILE))
            .unwrap()
            .permissions();
        assert_eq!(mode.mode() & 0o777, 0o600);
    }

    #[cfg(unix)]
    #[test]
    fn a_directory_that_others_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let scratch = Scratch::new("shared");
        let directory = &scratch.0;
        let mode = || fs::metadata(directory).unwrap().permissions().mode() & 0o777;
        let planted = LocalCa::in_directory(directory, NOW).unwrap();
        assert_eq!(mode(), 0o700);
        for (open, taken) in [
            (0o755, true),
            (0o757, false),
            (0o1777, false),
            (0o775, false),
        ] {
            fs::set_permissions(directory, fs::Permissions::from_mode(open)).unwrap();
            let found = LocalCa::in_directory(directory, NOW);
            assert_eq!(found.is_ok(), taken, "{open:o}");
            if let Ok(found) = found {
                assert_eq!(found.pem(), planted.pem());
            }
        }
    }

    #[cfg(unix)]
    #[test]
    fn what_somebody_else_has_put_there_is_refused() {
        // Only root can give a file away.
        let scratch = Scratch::new("planted");
        let directory = &scratch.0;
        LocalCa::in_directory(directory, NOW).unwrap();
        if std::os::unix::fs::chown(directory.join(CA_FILE), Some(65_534), None).is_ok() {
            assert!(LocalCa::in_directory(directory, NOW).is_err());
        }
        let _ = fs::remove_file(directory.join(CA_FILE));
        if std::os::unix::fs::chown(directory, Some(65_534), None).is_ok() {
            assert!(LocalCa::in_directory(directory, NOW).is_err());
        }
    }

    #[test]
    fn a_directory_that_is_a_file_is_named() {
        let scratch = Scratch::new("file");
        let directory = &scratch.0;
        fs::write(directory, "").unwrap();
        let error = LocalCa::in_directory(directory, NOW).unwrap_err();
        assert!(error.to_string().contains("local-ca-file"), "{error}");
    }

    #[test]
    fn pem_lines_are_of_64_letters() {
        assert_eq!(
            pem("X", &[0; 49]),
            format!(
                "-----BEGIN X-----\n{}\nAA==\n-----END X-----\n",
                "A".repeat(64)
            )
        );
    }
}
