//! The bits of every operation, frozen: what a change of the source that is not meant to change a
//! result is held against.
//!
//! `same_bits` shows that the backends and the forms of a call agree with one another. They would
//! agree as well after a change that moves all of them. Here each operation has a digest of its
//! results over a fixed set of inputs, and the table of the digests is part of the repository. A row
//! has one digest of the fused backends and one of the unfused ones, the same in every build and on
//! every machine. (NaN counts as one value: its payload and sign are outside the promise.)
//!
//! A failure prints the whole table with the digests found, to be pasted over that in
//! `table.rs`. That is legitimate in two cases only:
//!
//! - Bits are meant to change. That is a breaking change, and the changelog has to say which results
//!   have other bits and why. The rows that changed must be those that it names, and no others.
//! - Operations or inputs are added here. Then only new rows may appear, or the row `inputs` changes
//!   with those rows whose inputs did, in a commit that leaves `src` alone.
//!
//! If backends of one arithmetic disagree, no table can be right, and the failure says so.

mod arguments;
#[cfg(feature = "half")]
mod halves;
mod inputs;
mod operations;
mod options;
mod table;

use core::fmt::Write;
use online_softmax::{Backend, Candidate, Normalizer, Outcome, Softmax};
use std::collections::BTreeMap;
use std::thread;
use support::{backends, bits, bits_of_parts, is_fused};
use table::Frozen;

#[test]
#[cfg_attr(miri, ignore = "it would take hours")]
fn operations_have_the_frozen_bits() {
    hold("OPERATIONS", table::OPERATIONS, operations::digest);
}

#[test]
#[cfg_attr(miri, ignore = "it would take hours")]
fn options_have_the_frozen_bits() {
    hold("OPTIONS", table::OPTIONS, options::digest);
}

#[test]
#[cfg(feature = "half")]
#[cfg_attr(miri, ignore = "it would take hours")]
fn halves_have_the_frozen_bits() {
    hold("HALVES", table::HALVES, halves::digest);
}

/// Rows that no cache holds have passes of their own. In unoptimised builds they take too long.
#[test]
#[cfg(not(debug_assertions))]
#[cfg_attr(miri, ignore = "it would take hours")]
fn longest_rows_have_the_frozen_bits() {
    hold("LONGEST", table::LONGEST, operations::digest_longest);
}

#[test]
#[cfg(all(feature = "half", not(debug_assertions)))]
#[cfg_attr(miri, ignore = "it would take hours")]
fn longest_rows_of_halves_have_the_frozen_bits() {
    hold(
        "LONGEST_HALVES",
        table::LONGEST_HALVES,
        halves::digest_longest,
    );
}

/// FNV-1a, 64 bits wide, of words of 32 bits.
pub(crate) struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Digest(0xCBF2_9CE4_8422_2325)
    }
}

impl Digest {
    pub(crate) fn word(&mut self, word: u32) {
        self.0 = (self.0 ^ u64::from(word)).wrapping_mul(0x0000_0100_0000_01B3);
    }

    pub(crate) fn value(&mut self, value: f32) {
        self.word(bits(value));
    }

    pub(crate) fn values(&mut self, values: &[f32]) {
        for value in values {
            self.value(*value);
        }
    }

    pub(crate) fn normalizer(&mut self, normalizer: Normalizer) {
        let (max, rest) = bits_of_parts(normalizer);
        for word in [max, rest as u32, (rest >> 32) as u32] {
            self.word(word);
        }
        self.word(match normalizer.outcome() {
            Outcome::Finite => 0,
            Outcome::Empty => 1,
            Outcome::FullyMasked => 2,
            Outcome::PositiveInfinity => 3,
            Outcome::NaN => 4,
        });
    }

    pub(crate) fn candidates(&mut self, (normalizer, best): (Normalizer, &[Candidate])) {
        self.word(best.len() as u32);
        for candidate in best {
            self.word(candidate.index as u32);
            self.value(candidate.logit);
            self.value(candidate.probability);
        }
        self.normalizer(normalizer);
    }
}

/// The digests of one backend, each under the name of its row in the table.
pub(crate) struct Record {
    pub(crate) backend: Backend,
    digests: BTreeMap<String, Digest>,
}

impl Record {
    /// What all results that are digested under `name` go to.
    pub(crate) fn of(&mut self, name: &str) -> &mut Digest {
        self.digests.entry(name.to_owned()).or_default()
    }

    pub(crate) fn softmax(&self) -> Softmax<'static> {
        Softmax::new()
            .backend(self.backend)
            .expect("it is available")
    }
}

type Digests = BTreeMap<String, u64>;

fn digests_on(backend: Backend, operations: fn(&mut Record)) -> Digests {
    let digests = BTreeMap::new();
    let mut record = Record { backend, digests };
    operations(&mut record);
    let digests = record.digests.into_iter();
    digests.map(|(name, digest)| (name, digest.0)).collect()
}

/// Holds every backend that the processor has against the table.
fn hold(table_name: &str, table: &[Frozen], operations: fn(&mut Record)) {
    let found = thread::scope(|scope| {
        let threads: Vec<_> = backends()
            .map(|backend| {
                assert!(
                    backend.is_available(),
                    "{} is not available, but the processor has it",
                    backend.name()
                );
                let run = move || digests_on(backend, operations);
                // Some targets have no threads.
                (backend, thread::Builder::new().spawn_scoped(scope, run))
            })
            .collect();
        let results = threads.into_iter().map(|(backend, thread)| match thread {
            Ok(thread) => (backend, thread.join().expect("the operations do not panic")),
            Err(_) => (backend, digests_on(backend, operations)),
        });
        results.collect::<Vec<_>>()
    });
    let report = report(table_name, table, &found);
    assert!(report.is_empty(), "{report}");
}

/// What is wrong, and the table that would be right; empty if nothing is wrong.
fn report(table_name: &str, table: &[Frozen], found: &[(Backend, Digests)]) -> String {
    let mut report = String::new();
    let mut disagree = false;
    for (backend, digests) in found {
        let expected: Digests = table
            .iter()
            .map(|row| (row.0.to_owned(), column(row, is_fused(*backend))))
            .collect();
        let names = differing(&expected, digests);
        if !names.is_empty() {
            let (name, count) = (backend.name(), names.len());
            let total = digests.len();
            let names = names.join("\n    ");
            let _ = writeln!(report, "{name}: {count} of {total} differ:\n    {names}");
        }
        let peer = first_of_class(found, is_fused(*backend));
        if let Some((peer, digests_of_peer)) = peer {
            let names = differing(digests_of_peer, digests);
            if !names.is_empty() {
                disagree = true;
                let (name, peer) = (backend.name(), peer.name());
                let names = names.join("\n    ");
                let _ = writeln!(report, "{name} disagrees with {peer}:\n    {names}");
            }
        }
    }
    if disagree {
        report.push_str("Backends of one arithmetic disagree: no table is right.\n");
    } else if !report.is_empty() {
        report.push_str("Only if bits are meant to change: the table is then\n\n");
        report.push_str(&new_table(table_name, table, found));
    }
    report
}

fn column(row: &Frozen, fused: bool) -> u64 {
    if fused { row.1 } else { row.2 }
}

fn first_of_class(found: &[(Backend, Digests)], fused: bool) -> Option<&(Backend, Digests)> {
    found
        .iter()
        .find(|(backend, _)| is_fused(*backend) == fused)
}

/// The names that the two have different digests of, or that one has not.
fn differing(expected: &Digests, found: &Digests) -> Vec<String> {
    let mut names: Vec<_> = expected.keys().chain(found.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|name| expected.get(name) != found.get(name));
    names
}

/// The source text of the table. Where no backend of an arithmetic was run, the old digests stay.
fn new_table(table_name: &str, table: &[Frozen], found: &[(Backend, Digests)]) -> String {
    let digest = |name: &str, fused| {
        let of_class = first_of_class(found, fused);
        let found = of_class.and_then(|(_, digests)| digests.get(name).copied());
        let old = table.iter().find(|row| row.0 == name);
        found.or(old.map(|row| column(row, fused))).unwrap_or(0)
    };
    let names = found.first().map(|(_, digests)| digests.keys());
    let mut text = format!("pub(crate) const {table_name}: &[Frozen] = &[\n");
    for name in names.into_iter().flatten() {
        let (fused, unfused) = (grouped(digest(name, true)), grouped(digest(name, false)));
        let _ = writeln!(text, "    (\"{name}\", {fused}, {unfused}),");
    }
    text.push_str("];\n");
    text
}

fn grouped(digest: u64) -> String {
    let groups: Vec<String> = [48, 32, 16, 0]
        .map(|shift| format!("{:04x}", digest >> shift & 0xFFFF))
        .to_vec();
    format!("0x{}", groups.join("_"))
}
