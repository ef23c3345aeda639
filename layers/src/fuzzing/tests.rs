//! The corpora, replayed and mutated.

use std::fs;
use std::path::PathBuf;

use super::TARGETS;
use crate::campaign::volume;

/// A sample and the name of its file: `pass-...`, `fail-...`, or a hash where a fuzzer found it.
struct Sample {
    name: String,
    data: Vec<u8>,
}

fn corpora() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus")
}

fn corpus(target: &str) -> Vec<Sample> {
    let files = fs::read_dir(corpora().join(target)).unwrap();
    let mut samples: Vec<Sample> = files
        .map(|file| file.unwrap().path())
        .map(|path| Sample {
            name: path.file_name().unwrap().to_string_lossy().into_owned(),
            data: fs::read(path).unwrap(),
        })
        .collect();
    samples.sort_by(|a, b| a.name.cmp(&b.name));
    samples
}

/// xorshift64*: the same mutations on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next()).unwrap() % end.max(1)
    }
}

/// Pieces that parsers look at.
const PIECES: [&[u8]; 28] = [
    b"\"",
    b"\\",
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b";",
    b":",
    b"=",
    b" ",
    b"\t",
    b"\n",
    b".",
    b"\\u0061",
    b"\xff",
    b"\xc3\xa9",
    b"null",
    b"1e400",
    b"-0",
    b"Bearer ",
    b"claims",
    b"error",
    b"\"kid\":",
    b"\"alg\":\"none\"",
    b"\"exp\":1",
    b"AAAA",
    b"\0",
];

fn mutate(samples: &[Sample], random: &mut Random) -> Vec<u8> {
    let mut data = samples[random.below(samples.len())].data.clone();
    for _ in 0..=random.below(4) {
        let at = random.below(data.len() + 1);
        let end = (at + random.below(16)).min(data.len());
        match random.below(7) {
            0 => drop(data.drain(at..end)),
            1 => {
                let piece = data[at..end].to_vec();
                let to = random.below(data.len() + 1);
                data.splice(to..to, piece);
            }
            2 => drop(data.splice(at..at, PIECES[random.below(PIECES.len())].iter().copied())),
            3 => {
                let other = &samples[random.below(samples.len())].data;
                let from = random.below(other.len() + 1);
                data.splice(at.., other[from..].iter().copied());
            }
            4 => data.truncate(at),
            _ => {
                if let Some(byte) = data.get_mut(at) {
                    *byte ^= 1 << random.below(8);
                }
            }
        }
    }
    data
}

#[test]
fn every_target_has_a_corpus_and_every_corpus_a_target() {
    let mut folders: Vec<String> = fs::read_dir(corpora())
        .unwrap()
        .map(|folder| folder.unwrap().file_name().into_string().unwrap())
        .collect();
    folders.sort();
    assert_eq!(folders, TARGETS.map(|(name, _)| name));
    for (name, _) in TARGETS {
        let program = corpora().join(format!("../fuzz_targets/{name}.rs"));
        let program = fs::read_to_string(program).unwrap();
        assert!(
            program.contains(&format!("fuzzing::{name}(data)")),
            "{name}"
        );
    }
}

#[test]
fn samples_are_what_their_names_say() {
    let mut wrong = Vec::new();
    for (target, run) in TARGETS {
        let mut named = [0, 0];
        for sample in corpus(target) {
            let taken = run(&sample.data);
            if !sample.name.starts_with("pass-") && !sample.name.starts_with("fail-") {
                continue;
            }
            named[usize::from(taken)] += 1;
            if taken != sample.name.starts_with("pass-") {
                wrong.push(format!("{target}/{}", sample.name));
            }
        }
        assert!(!named.contains(&0), "{target} lacks samples of one kind");
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

macro_rules! campaigns {
    ($($name:ident),* $(,)?) => {
        $(#[test]
        fn $name() {
            let samples = corpus(stringify!($name));
            let mut random = Random(0x0123_4567_89AB_CDEF);
            for _ in 0..volume(1_000_000) {
                super::$name(&mutate(&samples, &mut random));
            }
        })*

        #[test]
        fn every_target_has_a_campaign() {
            assert_eq!([$(stringify!($name)),*], TARGETS.map(|(name, _)| name));
        }
    };
}

campaigns!(
    bearer_header,
    challenge,
    claims_request,
    jose,
    jwks,
    metadata,
    scopes,
    token,
    token_response,
);
