//! Whether a page brings anything that a walk has not read before: this is how repeating lists are detected.
//!
//! Hashes of about the last ten thousand entries are remembered, so memory does not grow with the list. Pure; the walk
//! calls it once for each page.

use std::collections::HashSet;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hash};

use super::wire::{InvalidEntry, LogPage};

/// This many entries are remembered for certain, and at most twice as many plus a page: a hundred full pages.
const REMEMBERED: usize = 10_000;

/// The entries that were read last.
#[derive(Debug, Default)]
pub(super) struct Novelty {
    hasher: RandomState,
    young: HashSet<u64>,
    old: HashSet<u64>,
    /// The place after the deepest page.
    deepest: u64,
}

/// The verdict on a page.
#[derive(Debug)]
pub(super) struct Judged {
    /// What it brought.
    pub(super) news: Brought,
    /// For each of its unusable entries, whether it was not read before.
    pub(super) unknown: Vec<bool>,
}

/// What a page brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Brought {
    /// Entries that were not read before, or a page that the walk had a reason to read again.
    Something,
    /// Only what was read before, although the page is deeper in the list than all pages before it.
    Nothing,
}

impl Novelty {
    /// Judges a page that `offset` entries precede.
    pub(super) fn see(&mut self, offset: u64, page: &LogPage) -> Judged {
        let end = offset + page.len() as u64;
        let is_deeper = end > self.deepest;
        self.deepest = self.deepest.max(end);
        let usable = page.attempts.iter().filter(|attempt| self.note(&attempt.id)).count();
        let unknown = self.unknown(&page.invalid);
        let is_new = usable > 0 || unknown.contains(&true);
        let news = if is_new || page.is_empty() || !is_deeper { Brought::Something } else { Brought::Nothing };
        Judged { news, unknown }
    }

    /// Which of these unusable entries were not read before.
    pub(super) fn unknown(&mut self, invalid: &[InvalidEntry]) -> Vec<bool> {
        invalid.iter().map(|entry| self.note(&entry.key)).collect()
    }

    /// Remembers a key, and returns whether it is new.
    fn note(&mut self, key: &impl Hash) -> bool {
        let hash = self.hasher.hash_one(key);
        if self.young.len() >= REMEMBERED {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(hash) && !self.old.contains(&hash)
    }
}

#[cfg(test)]
mod tests {
    use super::super::walk::tests::entry;
    use super::*;

    fn page(numbers: impl Iterator<Item = i64>, unusable: &[&str]) -> LogPage {
        let invalid = unusable.iter().map(|key| InvalidEntry { key: (*key).into(), reason: "", place: 0 });
        LogPage { attempts: numbers.map(entry).collect(), invalid: invalid.collect(), ..LogPage::default() }
    }

    #[test]
    fn a_deeper_page_of_known_entries_alone_brings_nothing() {
        let mut novelty = Novelty::default();
        assert_eq!(novelty.see(0, &page(0..10, &["a", "a"])).news, Brought::Something);
        assert_eq!(novelty.see(0, &page(0..10, &[])).news, Brought::Something, "it was read again on purpose");
        assert_eq!(novelty.see(12, &page(5..9, &["a"])).news, Brought::Nothing);
        assert_eq!(novelty.see(20, &page(5..11, &["a"])).news, Brought::Something);
        assert_eq!(novelty.see(30, &page(0..0, &[])).news, Brought::Something, "the list has ended");
        let judged = novelty.see(40, &page(0..0, &["a", "b", "b"]));
        assert_eq!((judged.news, judged.unknown), (Brought::Something, vec![false, true, false]));
        assert_eq!(novelty.see(50, &page(0..0, &["a", "b"])).news, Brought::Nothing);
    }

    #[test]
    fn its_memory_has_a_bound() {
        let mut novelty = Novelty::default();
        for number in 0..1_000 {
            let _ = novelty.see(number * 100, &page(number as i64 * 100..number as i64 * 100 + 100, &[]));
        }
        assert!(novelty.young.len() + novelty.old.len() <= 2 * REMEMBERED);
        assert_eq!(novelty.see(100_000, &page(90_000..90_100, &[])).news, Brought::Nothing);
    }
}
