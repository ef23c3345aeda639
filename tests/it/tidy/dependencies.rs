//! What may be linked in: licences, and one version of each crate unless there is a reason.

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
};

use cargo_metadata::{CargoOpt, Metadata, MetadataCommand, Package};

/// Licences whose terms a MIT OR Apache-2.0 project can meet by shipping their texts.
const LICENCES: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Crates that stand twice in the tree, and why we cannot help it.
const DUPLICATES: &[(&str, &str)] = &[
    (
        "base64",
        "hyper-util's proxy matcher is ahead of jsonwebtoken and tonic",
    ),
    ("getrandom", "tower-sessions-core's rand 0.9 is behind uuid"),
    (
        "itertools",
        "criterion, which only benchmarks use, is behind prost",
    ),
    ("rand", "tower-sessions-core is behind proptest"),
    ("rand_core", "as rand"),
    (
        "syn",
        "derive macros are moving from 2 to 3; build time only",
    ),
    (
        "synstructure",
        "what rcgen may use to read certificates is behind url's ICU",
    ),
    (
        "untrusted",
        "aws-lc-rs and rustls-webpki, both parts of rustls",
    ),
];

fn metadata() -> Metadata {
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap();
    let host = rustc
        .lines()
        .find_map(|line| line.strip_prefix("host: "))
        .unwrap();
    MetadataCommand::new()
        .manifest_path(super::root().join("Cargo.toml"))
        .features(CargoOpt::AllFeatures)
        .other_options([format!("--filter-platform={host}")])
        .exec()
        .unwrap()
}

/// The crates of others that our build for this machine uses.
fn foreign(metadata: &Metadata) -> Vec<&Package> {
    let resolve = metadata.resolve.as_ref().unwrap();
    let used: BTreeSet<_> = resolve.nodes.iter().map(|node| &node.id).collect();
    let packages = metadata.packages.iter();
    packages
        .filter(|package| package.source.is_some() && used.contains(&package.id))
        .collect()
}

/// Whether an SPDX expression can be met with the allowed licences alone.
fn allowed(expression: &str) -> bool {
    // Old manifests write `MIT/Apache-2.0` for OR.
    let text = expression
        .replace('/', " OR ")
        .replace('(', " ( ")
        .replace(')', " ) ");
    let tokens: Vec<&str> = text.split_whitespace().collect();
    let mut at = 0;
    let met = any_of(&tokens, &mut at);
    met && at == tokens.len()
}

fn any_of(tokens: &[&str], at: &mut usize) -> bool {
    let mut met = all_of(tokens, at);
    while tokens.get(*at) == Some(&"OR") {
        *at += 1;
        met |= all_of(tokens, at);
    }
    met
}

fn all_of(tokens: &[&str], at: &mut usize) -> bool {
    let mut met = one(tokens, at);
    while tokens.get(*at) == Some(&"AND") {
        *at += 1;
        met &= one(tokens, at);
    }
    met
}

fn one(tokens: &[&str], at: &mut usize) -> bool {
    let token = tokens.get(*at).copied().unwrap_or_default();
    *at += 1;
    let met = if token == "(" {
        let met = any_of(tokens, at);
        *at += 1;
        met
    } else {
        LICENCES.contains(&token)
    };
    // An exception only adds permissions.
    if tokens.get(*at) == Some(&"WITH") {
        *at += 2;
    }
    met
}

#[test]
fn licence_expressions_are_understood() {
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("MIT/Apache-2.0", true),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("ISC AND (Apache-2.0 OR GPL-2.0)", true),
        ("(GPL-2.0 OR LGPL-2.1) AND MIT", false),
        ("Apache-2.0 WITH LLVM-exception", true),
        ("MIT MIT", false),
        ("", false),
    ] {
        assert_eq!(allowed(expression), expected, "{expression}");
    }
}

#[test]
fn every_dependency_has_an_allowed_licence() {
    let metadata = metadata();
    for package in foreign(&metadata) {
        let licence = package.license.as_deref().unwrap_or_default();
        assert!(
            allowed(licence),
            "{} {}: `{licence}`",
            package.name,
            package.version
        );
    }
}

#[test]
fn every_duplicate_has_a_reason_and_every_reason_a_duplicate() {
    let metadata = metadata();
    let mut versions = BTreeMap::<&str, BTreeSet<String>>::new();
    for package in foreign(&metadata) {
        versions
            .entry(&package.name)
            .or_default()
            .insert(package.version.to_string());
    }
    versions.retain(|_, versions| versions.len() > 1);
    let known = |name: &str| DUPLICATES.iter().any(|(known, _)| *known == name);
    let unknown: Vec<_> = versions.iter().filter(|(name, _)| !known(name)).collect();
    assert!(
        unknown.is_empty(),
        "unify these or say why not: {unknown:?}"
    );
    for (name, _) in DUPLICATES {
        assert!(
            versions.contains_key(name),
            "{name} stands in the tree once: delete its reason"
        );
    }
}

#[test]
fn the_authority_shares_no_code_with_the_library() {
    let metadata = metadata();
    let resolve = metadata.resolve.as_ref().unwrap();
    let id = |name: &str| {
        let package = metadata
            .packages
            .iter()
            .find(|package| *package.name == *name);
        &package.unwrap().id
    };
    // A fault shared by the side that signs and the side that checks would pass every test.
    let mut seen = BTreeSet::new();
    let mut next = vec![id("local-authority")];
    while let Some(package) = next.pop() {
        assert_ne!(package, id("tower-bearer"));
        if seen.insert(package) {
            let node = resolve
                .nodes
                .iter()
                .find(|node| node.id == *package)
                .unwrap();
            next.extend(&node.dependencies);
        }
    }
}
