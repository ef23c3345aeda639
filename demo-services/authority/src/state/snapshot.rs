//! The document of the state file: the authority's parts to bytes and back.

use std::collections::HashSet;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::error::Unspecified;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};

use super::directory::{DirectoryText, Exposed};
use super::stores::StoresText;
use crate::directory::Directory;
use crate::keys::{MAX_PUBLISHED, SigningKey};
use crate::records::Stores;

const VERSION: u64 = 1;

/// All that outlives a process.
#[derive(Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Snapshot {
    version: u64,
    /// The base URL at that time.
    base: String,
    /// Fingerprint of the directory that was given at the first start.
    began_from: String,
    /// The directory as it stands.
    directory: DirectoryText,
    /// The signing key first.
    keys: Vec<KeyText>,
    stores: StoresText,
}

#[derive(Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
struct KeyText {
    /// In Base64.
    pkcs8: Exposed,
    /// Seconds since 1970.
    made: u64,
}

/// The parts again.
pub(crate) struct Restored {
    pub(crate) directory: Directory,
    pub(crate) keys: Vec<SigningKey>,
    pub(crate) stores: Stores,
}

/// Why bytes are no snapshot. No value of them is in it.
#[derive(Debug, PartialEq)]
pub(super) enum Unreadable {
    Damaged(String),
    Version(u64),
}

/// SHA-256 of everything in a directory, in hexadecimal digits. Comments and layout of its file do not count.
pub(super) fn fingerprint(directory: &Directory) -> serde_json::Result<String> {
    let bytes = serde_json::to_vec(&DirectoryText::of(directory))?;
    let digest = digest(&SHA256, &bytes);
    Ok(digest
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect())
}

impl Snapshot {
    pub(super) fn of(
        base: &str,
        began_from: &str,
        directory: &Directory,
        keys: &[Arc<SigningKey>],
        mut stores: StoresText,
    ) -> Result<Self, Unspecified> {
        stores.retain_resolvable(directory);
        let key = |key: &Arc<SigningKey>| -> Result<KeyText, Unspecified> {
            let der = key.to_pkcs8()?;
            Ok(KeyText {
                pkcs8: Exposed(STANDARD.encode(der.expose_secret()).into()),
                made: key.made(),
            })
        };
        Ok(Self {
            version: VERSION,
            base: base.to_owned(),
            began_from: began_from.to_owned(),
            directory: DirectoryText::of(directory),
            keys: keys.iter().map(key).collect::<Result<_, _>>()?,
            stores,
        })
    }

    pub(super) fn to_bytes(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, Unreadable> {
        #[derive(Deserialize)]
        struct Versioned {
            version: u64,
        }
        let Versioned { version } = serde_json::from_slice(bytes).map_err(unreadable)?;
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        serde_json::from_slice(bytes).map_err(unreadable)
    }

    pub(super) fn base(&self) -> &str {
        &self.base
    }

    pub(super) fn began_from(&self) -> &str {
        &self.began_from
    }

    /// Checks that the parts hold together, and forgets what has expired by `now`.
    pub(super) fn restore(self, now: u64) -> Result<Restored, Unreadable> {
        let damaged = |reason: &str| Unreadable::Damaged(reason.to_owned());
        let directory = self.directory.restore();
        directory
            .validate()
            .map_err(|error| Unreadable::Damaged(error.to_string()))?;
        let key = |KeyText { pkcs8, made }: &KeyText| {
            let der = STANDARD.decode(pkcs8.0.expose_secret()).ok()?;
            SigningKey::from_pkcs8(&der, *made).ok()
        };
        let keys: Option<Vec<_>> = self.keys.iter().map(key).collect();
        let keys = keys.ok_or_else(|| damaged("a signing key is not an RSA key in PKCS#8"))?;
        let kids: HashSet<&str> = keys.iter().map(SigningKey::kid).collect();
        if keys.is_empty() || keys.len() > MAX_PUBLISHED || kids.len() < keys.len() {
            return Err(damaged("it has no signing key, too many, or one twice"));
        }
        let stores = self.stores.restore(&directory, now).map_err(damaged)?;
        Ok(Restored {
            directory,
            keys,
            stores,
        })
    }
}

/// The parser's own words may quote a secret; kind and place say enough.
fn unreadable(error: serde_json::Error) -> Unreadable {
    use serde_json::error::Category;
    let what = match error.classify() {
        Category::Eof => "it ends too early",
        Category::Syntax => "it is not JSON",
        Category::Data | Category::Io => "it is JSON with missing, unknown or wrong members",
    };
    let (line, column) = (error.line(), error.column());
    Unreadable::Damaged(format!("{what} (line {line}, column {column})"))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::LazyLock;

    use proptest::collection::{btree_set, vec};
    use proptest::option;
    use proptest::prelude::*;
    use serde_json::{Value, json};
    use uuid::Uuid;

    use super::*;
    use crate::authorization::{AuthorizeRequest, Redirect, RedirectKind};
    use crate::errors::Trace;
    use crate::form::Form;
    use crate::policy::Authentication;
    use crate::records::{Code, Grant, Guess, Record};

    const NOW: u64 = 1_000_000;

    static KEYS: LazyLock<[Arc<SigningKey>; 2]> =
        LazyLock::new(|| [7, 8].map(|made| Arc::new(SigningKey::generate(made).unwrap())));

    fn snapshot(stores: &Stores) -> Snapshot {
        let directory = Directory::demo();
        let stores = StoresText::of(stores);
        Snapshot::of("http://localhost:1", "began", &directory, &*KEYS, stores).unwrap()
    }

    fn authentication() -> impl Strategy<Value = Authentication> {
        let contexts = btree_set("c[1-9]", 0..3);
        (
            any::<[u128; 2]>(),
            any::<[u64; 2]>(),
            any::<bool>(),
            contexts,
        )
            .prop_map(|([user, sid], [auth_time, generation], mfa, contexts)| {
                Authentication {
                    user: Uuid::from_u128(user),
                    sid: Uuid::from_u128(sid),
                    auth_time,
                    mfa,
                    contexts,
                    generation,
                }
            })
    }

    /// Code, nonce, redemption, authentication.
    type PlainCode = (
        String,
        Option<String>,
        Option<Option<String>>,
        Authentication,
    );

    /// Plain values to fill the stores with; these have Debug.
    #[derive(Clone, Debug)]
    struct Filling {
        sessions: Vec<(String, Authentication)>,
        codes: Vec<PlainCode>,
        records: Vec<(String, u128, Option<Authentication>)>,
        families: Vec<(u128, RedirectKind, Authentication)>,
        consents: Vec<([u128; 3], BTreeSet<String>)>,
        users: Vec<u128>,
    }

    fn kind() -> impl Strategy<Value = RedirectKind> {
        prop::sample::select(vec![
            RedirectKind::Native,
            RedirectKind::Spa,
            RedirectKind::Web,
        ])
    }

    prop_compose! {
        fn filling()(
            sessions in vec((any::<String>(), authentication()), 0..4),
            codes in vec((any::<String>(), any::<Option<String>>(), any::<Option<Option<String>>>(), authentication()), 0..4),
            records in vec((any::<String>(), any::<u128>(), option::of(authentication())), 0..4),
            families in vec((any::<u128>(), kind(), authentication()), 0..4),
            consents in vec((any::<[u128; 3]>(), btree_set(any::<String>(), 0..3)), 0..4),
            users in vec(any::<u128>(), 0..4),
        ) -> Filling {
            Filling { sessions, codes, records, families, consents, users }
        }
    }

    fn request(directory: &Directory) -> (AuthorizeRequest, Redirect) {
        let client = directory.app("spa-backend").unwrap().client_id;
        let query = format!(
            "client_id={client}&redirect_uri=http://localhost:3000/auth/callback&response_type=code&code_challenge_method=S256\
            &code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&scope=api://middle-tier/.default%20openid"
        );
        let form = Form::parse(query.as_bytes());
        AuthorizeRequest::parse(directory, form, Trace::new(None))
            .ok()
            .unwrap()
    }

    fn fill(filling: Filling) -> Stores {
        let mut stores = Stores::new();
        let (request, redirect) = request(&Directory::demo());
        for (key, value) in filling.sessions {
            stores.sessions.insert(key, value, NOW);
        }
        for (key, nonce, redeemed, authentication) in filling.codes {
            let redirect = Redirect {
                nonce,
                ..redirect.clone()
            };
            let code = Code {
                request: request.clone(),
                redirect,
                authentication,
                redeemed,
            };
            stores.codes.insert(key, Box::new(code), NOW);
        }
        for (key, resource, authentication) in filling.records {
            let resource = Uuid::from_u128(resource);
            let record = Record {
                resource,
                authentication,
            };
            stores.records.insert(key, record, NOW);
        }
        for (client, kind, authentication) in filling.families {
            stores.found_family(Uuid::from_u128(client), kind, authentication, NOW);
        }
        for (ids, names) in filling.consents {
            let [user, client, resource] = ids.map(Uuid::from_u128);
            let grant = Grant {
                user,
                client,
                resource,
            };
            stores.consent(grant, names, NOW);
        }
        for user in filling.users.into_iter().map(Uuid::from_u128) {
            stores.revoke(user, NOW);
            stores.attempt(Guess::Password, user, NOW);
        }
        stores
    }

    /// The entries in an order of their own.
    fn sorted(mut text: StoresText) -> StoresText {
        text.sessions.sort_by(|a, b| a.0.cmp(&b.0));
        text.codes.sort_by(|a, b| a.0.cmp(&b.0));
        text.families.sort_by(|a, b| a.0.cmp(&b.0));
        text.records.sort_by(|a, b| a.0.cmp(&b.0));
        text.consents.sort_by(|a, b| a.0.cmp(&b.0));
        text.tries.sort_by(|a, b| a.0.cmp(&b.0));
        text
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(64) })]

        #[test]
        fn snapshot_to_bytes_to_snapshot(filling in filling()) {
            let snapshot = snapshot(&fill(filling));
            let bytes = snapshot.to_bytes().unwrap();
            let Ok(again) = Snapshot::from_bytes(&bytes) else { panic!("it is a snapshot") };
            prop_assert!(again == snapshot);
            let Ok(restored) = again.restore(NOW) else { panic!("it holds together") };
            prop_assert!(sorted(StoresText::of(&restored.stores)) == sorted(snapshot.stores));
            let kids = |keys: Vec<&SigningKey>| -> Vec<(String, u64)> {
                keys.iter().map(|key| (key.kid().to_owned(), key.made())).collect()
            };
            prop_assert_eq!(kids(restored.keys.iter().collect()), kids(KEYS.iter().map(AsRef::as_ref).collect()));
        }

        #[test]
        fn no_bytes_are_a_panic(bytes in vec(any::<u8>(), 0..64)) {
            prop_assert!(Snapshot::from_bytes(&bytes).is_err());
        }

        #[test]
        fn no_changed_byte_is_a_panic(at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = snapshot(&Stores::new()).to_bytes().unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            let _ = Snapshot::from_bytes(&bytes).and_then(|snapshot| snapshot.restore(NOW));
        }
    }

    /// What is said of a snapshot after a change to its JSON.
    fn verdict(change: impl FnOnce(&mut Value)) -> Result<(), Unreadable> {
        let mut stores = Stores::new();
        let session = json!({ "user": Uuid::nil(), "sid": Uuid::nil(), "auth_time": 1, "mfa": true, "contexts": [], "generation": 0 });
        let session: Authentication = serde_json::from_value(session).unwrap();
        stores.sessions.insert("cookie".into(), session, NOW);
        let mut json = serde_json::to_value(snapshot(&stores)).unwrap();
        change(&mut json);
        let bytes = serde_json::to_vec(&json).unwrap();
        Snapshot::from_bytes(&bytes)?.restore(NOW).map(drop)
    }

    fn damage(change: impl FnOnce(&mut Value)) -> String {
        match verdict(change) {
            Err(Unreadable::Damaged(reason)) => reason,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_damage_is_found_and_no_value_is_quoted() {
        assert_eq!(verdict(|_| {}), Ok(()));
        assert_eq!(
            verdict(|json| json["version"] = 2.into()),
            Err(Unreadable::Version(2))
        );
        // Another version may have any other shape.
        assert_eq!(
            verdict(|json| *json = json!({ "version": 3, "x": 1 })),
            Err(Unreadable::Version(3))
        );
        type Change = fn(&mut Value);
        let rows: &[(Change, &str)] = &[
            (|json| json["version"] = "hunter2".into(), "wrong members"),
            (|json| *json = json!(["hunter2"]), "wrong members"),
            (|json| json["hunter2"] = 1.into(), "unknown"),
            (|json| json["stores"]["hunter2"] = 1.into(), "unknown"),
            (
                |json| drop(json["stores"].as_object_mut().unwrap().remove("records")),
                "missing",
            ),
            (
                |json| json["stores"]["sessions"][0][1] = "hunter2".into(),
                "wrong members",
            ),
            (
                |json| json["stores"]["sessions"][0][2]["mfa"] = "hunter2".into(),
                "wrong members",
            ),
            (
                |json| json["directory"]["users"][0]["password"] = 1.into(),
                "wrong members",
            ),
            (
                |json| json["directory"]["users"][0]["password"] = "".into(),
                "password",
            ),
            (
                |json| json["directory"]["apps"][0]["delegated"] = json!(["api://gone/x"]),
                "delegated",
            ),
            (
                |json| {
                    let grant = json!({ "id": Uuid::nil(), "resource": Uuid::nil(), "principal": null, "scopes": [] });
                    json["directory"]["apps"][0]["registration"]["grants"] = json!([grant]);
                },
                "grants",
            ),
            (
                |json| {
                    let context = json!({ "id": "c100", "display_name": "hunter2", "description": null, "available": true });
                    json["directory"]["auth_contexts"] = json!([context]);
                },
                "c1 to c99",
            ),
            (|json| json["keys"] = json!([]), "no signing key"),
            (
                |json| json["keys"][0]["pkcs8"] = "hunter2".into(),
                "not an RSA key",
            ),
            (
                |json| json["keys"][0]["pkcs8"] = STANDARD.encode("hunter2").into(),
                "not an RSA key",
            ),
            (|json| json["keys"][1] = json["keys"][0].clone(), "twice"),
            (
                |json| json["stores"]["sessions"][1] = json["stores"]["sessions"][0].clone(),
                "twice",
            ),
        ];
        for (index, (change, expected)) in rows.iter().enumerate() {
            // JSON arrays do not grow by indexing.
            let reason = damage(|json| {
                for list in ["/stores/sessions", "/keys"] {
                    let list = json.pointer_mut(list).unwrap().as_array_mut().unwrap();
                    if list.len() == 1 && index == rows.len() - 1 {
                        list.push(Value::Null);
                    }
                }
                change(json);
            });
            assert!(reason.contains(expected), "{index}: {reason}");
            assert!(!reason.contains("hunter2"), "{index}: {reason}");
        }
    }

    #[test]
    fn a_truncated_file_is_damaged_wherever_it_ends() {
        let bytes = snapshot(&Stores::new()).to_bytes().unwrap();
        for end in (0..bytes.len()).step_by(97).chain([bytes.len() - 1]) {
            let Err(Unreadable::Damaged(reason)) = Snapshot::from_bytes(&bytes[..end]) else {
                panic!("{end}")
            };
            assert!(reason.contains("too early"), "{end}: {reason}");
        }
        let trailing = [&bytes[..], b"x"].concat();
        assert!(Snapshot::from_bytes(&trailing).is_err());
    }

    #[test]
    fn a_fingerprint_is_of_all_values_and_of_nothing_else() {
        let directory = Directory::demo();
        let print = fingerprint(&directory).unwrap();
        assert_eq!(
            (print.len(), &fingerprint(&directory.clone()).unwrap()),
            (64, &print)
        );
        let mut other = directory.clone();
        other.users[0].password = "other".to_owned().into();
        assert_ne!(fingerprint(&other).unwrap(), print);
        let mut other = directory;
        other.policies[0].enabled = false;
        assert_ne!(fingerprint(&other).unwrap(), print);
    }

    #[test]
    fn what_expired_is_forgotten_at_a_restart() {
        let mut stores = Stores::new();
        let grant = Grant {
            user: Uuid::nil(),
            client: Uuid::nil(),
            resource: Uuid::nil(),
        };
        stores.consent(grant, BTreeSet::from(["x".to_owned()]), NOW);
        stores.attempt(Guess::Code, Uuid::nil(), NOW);
        let left = |now| {
            let Ok(restored) = snapshot(&stores).restore(now) else {
                panic!("it holds together")
            };
            let text = StoresText::of(&restored.stores);
            (text.tries.len(), text.consents.len())
        };
        assert_eq!(left(NOW + 600), (1, 1), "known as expired");
        assert_eq!(left(NOW + 1200), (0, 1));
        assert_eq!(left(NOW + 2 * 365 * 86_400), (0, 0));
    }
}
