//! Imports in `layers/src` run one way: core <- layers <- adapters (`ARCHITECTURE.md`). In `demo-services/authority/src` there is no cycle.

use std::collections::{BTreeMap, BTreeSet};

use super::{Source, sources};

/// The tower layers. What imports one of them is not core.
const LAYERS: [&str; 6] = [
    "detect_challenge",
    "on_behalf_of",
    "propagate_challenge",
    "protected_resource_metadata",
    "require_scope",
    "validate_bearer",
];
/// Above the layers: may import all of them.
const ABOVE: [&str; 6] = ["axum", "fuzzing", "lib", "protect", "reqwest", "tonic"];

const LIBRARY: &str = "layers/src";

type Imports = BTreeMap<String, BTreeSet<String>>;

/// The top-level module of `folder` that a file belongs to.
fn module_in(folder: &str, source: &Source) -> String {
    let path = source.path.trim_start_matches(folder);
    let path = path.trim_start_matches('/');
    path.split(['/', '.']).next().unwrap_or_default().into()
}

/// What each module of the library imports from its siblings.
fn imports() -> Imports {
    imports_in(LIBRARY)
}

/// What each module of a crate imports from its siblings, `folder` being its `src`.
fn imports_in(folder: &str) -> Imports {
    let sources = sources(folder);
    let module_of = |source: &Source| module_in(folder, source);
    let modules: BTreeSet<String> = sources.iter().map(module_of).collect();
    let lib = sources
        .iter()
        .find(|source| module_of(source) == "lib")
        .unwrap();
    let reexports = reexports(&lib.product_code());

    let mut imports = BTreeMap::<String, BTreeSet<String>>::new();
    for source in &sources {
        let module = module_of(source);
        let code = source.product_code();
        // In a file of its own, a top-level module's `super` is the crate.
        let top_level = source.path == format!("{folder}/{module}.rs");
        let prefixes = if top_level {
            &["crate::", "super::"][..]
        } else {
            &["crate::"]
        };
        let used = prefixes
            .iter()
            .flat_map(|prefix| first_names(&code, prefix));
        let used = used.map(|name| reexports.get(&name).cloned().unwrap_or(name));
        let siblings = used.filter(|name| modules.contains(name) && *name != module);
        imports
            .entry(module.clone())
            .or_default()
            .extend(siblings.collect::<Vec<_>>());
    }
    imports
}

/// The names that follow `prefix`, also those of a `{...}` group.
fn first_names(code: &str, prefix: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim_start()
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    let mut names = Vec::new();
    for (at, _) in code.match_indices(prefix) {
        let rest = &code[at + prefix.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.push(word(rest));
            continue;
        };
        let mut depth = 0;
        let mut start = true;
        for (at, c) in group.char_indices() {
            if start && depth == 0 && !c.is_whitespace() {
                names.push(word(&group[at..]));
                start = false;
            }
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' => start = depth == 0,
                _ => {}
            }
        }
    }
    names
}

/// `pub use module::{A, B}` of the crate's root: name -> module.
fn reexports(lib: &str) -> BTreeMap<String, String> {
    let mut map = BTreeMap::new();
    for (at, start) in lib.match_indices("pub use ") {
        let item = &lib[at + start.len()..];
        let item = item
            .split(';')
            .next()
            .unwrap_or_default()
            .replace("crate::", "");
        let Some((module, names)) = item.split_once("::") else {
            continue;
        };
        for name in names.split(|c: char| !(c.is_alphanumeric() || c == '_')) {
            if !name.is_empty() {
                map.insert(name.into(), module.trim_start_matches("self::").into());
            }
        }
    }
    map
}

#[test]
fn the_core_imports_no_layer() {
    for (module, imports) in imports() {
        if LAYERS.contains(&&*module) || ABOVE.contains(&&*module) {
            continue;
        }
        for import in imports {
            let upwards = LAYERS.contains(&&*import) || ABOVE.contains(&&*import);
            assert!(!upwards, "{module} imports {import}");
        }
    }
}

#[test]
fn no_layer_imports_another() {
    for (module, imports) in imports() {
        if !LAYERS.contains(&&*module) {
            continue;
        }
        for import in imports {
            let sideways = LAYERS.contains(&&*import) || ABOVE.contains(&&*import);
            assert!(!sideways, "{module} imports {import}");
        }
    }
}

/// What is in a cycle of imports, or above one.
fn cyclic(mut left: Imports) -> Imports {
    // The root names all modules.
    left.remove("lib");
    loop {
        let free: Vec<String> = left
            .iter()
            .filter(|(_, imports)| imports.iter().all(|import| !left.contains_key(import)))
            .map(|(module, _)| module.clone())
            .collect();
        if free.is_empty() {
            return left;
        }
        for module in free {
            left.remove(&module);
        }
    }
}

#[test]
fn no_import_runs_in_a_cycle() {
    for folder in [LIBRARY, "demo-services/authority/src"] {
        let imports = imports_in(folder);
        assert!(imports.values().any(|imports| !imports.is_empty()));
        let left = cyclic(imports);
        assert!(left.is_empty(), "{folder}: in or above a cycle: {left:#?}");
    }
}

#[test]
fn a_cycle_is_seen() {
    let imports = |pairs: &[(&str, &str)]| {
        let mut map = Imports::new();
        for (from, to) in pairs {
            map.entry((*from).into()).or_default().insert((*to).into());
            map.entry((*to).into()).or_default();
        }
        map
    };
    let line = [("a", "b"), ("b", "c")];
    assert!(cyclic(imports(&line)).is_empty());
    let ring = cyclic(imports(&[line[0], line[1], ("c", "a"), ("a", "d")]));
    assert_eq!(ring.into_keys().collect::<Vec<_>>(), ["a", "b", "c"]);
}

#[test]
fn the_import_reader_sees_groups_reexports_and_paths() {
    let code =
        "use crate::{\n claims::{A, B},\n scope::Scope, C};\nfn f() { crate::jwt::verify() }";
    assert_eq!(
        first_names(code, "crate::"),
        ["claims", "scope", "C", "jwt"]
    );
    let map = reexports("pub use on_behalf_of::{OnBehalfOf, OnBehalfOfLayer};");
    assert_eq!(map["OnBehalfOfLayer"], "on_behalf_of");
}

#[test]
fn the_clock_is_read_in_one_place() {
    for source in sources(LIBRARY).iter().chain(&sources("demo-services")) {
        if source.path.ends_with("/clock.rs") {
            continue;
        }
        let code = source.product_code();
        for read in ["SystemTime::now", "UNIX_EPOCH", "std::time::Instant"] {
            assert!(!code.contains(read), "{}: {read}", source.path);
        }
    }
}

/// Modules that may name the header without reading or writing its text: they set what `challenge` printed, drop it, or throw
/// arbitrary bytes at it.
const NAME_THE_HEADER: [&str; 4] = ["fuzzing", "on_behalf_of", "propagate_challenge", "refusal"];

#[test]
fn challenge_text_is_read_and_written_in_one_place() {
    for source in sources(LIBRARY) {
        let module = module_in(LIBRARY, &source);
        if module == "challenge" {
            continue;
        }
        let code = source.product_code();
        for text in ["error=", "realm=", "claims=\\\""] {
            assert!(!code.contains(text), "{}: {text}", source.path);
        }
        if !NAME_THE_HEADER.contains(&&*module) {
            let code = code.to_lowercase();
            for name in ["www_authenticate", "www-authenticate"] {
                assert!(!code.contains(name), "{}: {name}", source.path);
            }
        }
    }
}
