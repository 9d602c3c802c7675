//! Entries that no page can show: every page that holds one of them fails. They are identified by their position.
//!
//! Nothing of such an entry can be read, but the list is in order of time, so the entry was created between its
//! neighbours. New entries and deletions move it and may bring closer neighbours; the intervals still overlap. Pure;
//! walks and the ledger's memory of unusable entries share its keys.

use crate::delivery::Timestamp;

/// The prefix of such entries' keys, in the memory of unusable entries.
pub const PREFIX: &str = "unreadable:";
/// Separates the two times of a key, which have as many digits as the longest number has: no key is the prefix of
/// another.
const SEPARATOR: char = '~';

/// An entry that cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hole {
    /// Its key, by which it is counted once.
    pub key: Box<str>,
    older: Timestamp,
    newer: Timestamp,
}

impl Hole {
    /// The entry that a key of the memory stands for; `None` if it stands for another kind of unusable entry.
    pub fn from_key(key: &str) -> Option<Self> {
        let mut parts = key.strip_prefix(PREFIX)?.split(SEPARATOR);
        let mut time = || parts.next()?.parse().ok().map(Timestamp::from_micros);
        let (older, newer) = (time()?, time()?);
        Some(Self { key: key.into(), older, newer })
    }

    fn new(older: Timestamp, newer: Timestamp, number: usize) -> Self {
        let (from, to) = (older.as_micros(), newer.as_micros());
        let key = format!("{PREFIX}{from}{SEPARATOR}{to}{SEPARATOR}{number}").into();
        Self { key, older, newer }
    }

    /// Whether it may have been created at `time` or later, judging by its neighbours.
    pub fn may_be_since(&self, time: Timestamp) -> bool {
        self.newer >= time
    }

    /// Whether it follows an entry of time `newer`, judging by times. It does not follow its older neighbour.
    fn is_behind(&self, newer: Timestamp) -> bool {
        self.older < newer || self.older == newer && self.newer == newer
    }

    /// Whether this may be an entry between `older` and `newer`. Neighbours that share a second may have changed
    /// places; otherwise, intervals that merely touch lie on both sides of an entry.
    fn may_be(&self, older: Timestamp, newer: Timestamp) -> bool {
        let (from, to) = (self.older.max(older), self.newer.min(newer));
        from < to || from == to && (self.older == self.newer || older == newer)
    }
}

/// What a walk knows of such entries.
#[derive(Debug, Default)]
pub(super) struct Holes {
    known: Vec<Hole>,
    /// Those for which no entry after them was read yet.
    waiting: Option<PendingHole>,
}

/// Places in a row that could not be read.
#[derive(Clone, Copy, Debug)]
struct PendingHole {
    /// The time of the entry before them.
    newer: Timestamp,
    places: u64,
    /// The length of the list before them, if it was stated.
    total: Option<u64>,
}

impl Holes {
    pub(super) fn expect(&mut self, known: Vec<Hole>) {
        self.known = known;
    }

    /// Whether a known one may be among the entries after one of time `newer`; after the top of the list if that is
    /// `None`.
    pub(super) fn is_one_behind(&self, newer: Option<Timestamp>) -> bool {
        self.known.iter().any(|hole| newer.is_none_or(|newer| hole.is_behind(newer)))
    }

    /// Whether a known one may directly follow an entry of time `newer`, or may be at the top of the list.
    pub(super) fn is_one_at(&self, newer: Option<Timestamp>) -> bool {
        self.known.iter().any(|hole| newer.is_none_or(|newer| hole.is_behind(newer) && newer <= hole.newer))
    }

    /// Drops those that wait: the walk is about to read them again from the top. What it reads next precedes them.
    pub(super) fn begin_again(&mut self) {
        self.waiting = None;
    }

    /// Records that an entry cannot be read, after one of time `newer`, in a list of `total` entries.
    pub(super) fn meet(&mut self, newer: Timestamp, total: Option<u64>) {
        let waiting = self.waiting.get_or_insert(PendingHole { newer, places: 0, total });
        waiting.places += 1;
    }

    /// Returns the keys of those that wait: an entry of time `older`, or the end of the list, follows them. The list
    /// now has `total` entries: as many of the unreadable places as it has grown by may belong to entries that were
    /// pushed on.
    pub(super) fn close(&mut self, older: Option<Timestamp>, total: Option<u64>) -> Vec<Box<str>> {
        let Some(PendingHole { newer, places, total: before }) = self.waiting.take() else { return Vec::new() };
        let growth = total.zip(before).map_or(0, |(total, before)| total.saturating_sub(before));
        let count = usize::try_from(places.saturating_sub(growth).max(1)).unwrap_or(usize::MAX);
        let older = older.unwrap_or(Timestamp::from_micros(i64::MIN)).min(newer);
        let met = self.known.iter().filter(|hole| hole.may_be(older, newer));
        let mut keys: Vec<Box<str>> = met.take(count).map(|hole| hole.key.clone()).collect();
        let mut number = 0;
        while keys.len() < count {
            let hole = Hole::new(older, newer, number);
            number += 1;
            if self.known.iter().all(|known| known.key != hole.key) {
                keys.push(hole.key.clone());
                self.known.push(hole);
            }
        }
        keys
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(second: i64) -> Timestamp {
        Timestamp::from_seconds(second)
    }

    /// The keys of entries between those of two seconds, where `known` are known.
    fn met(known: &[Box<str>], newer: i64, older: Option<i64>, count: usize) -> Vec<Box<str>> {
        let mut holes = Holes::default();
        holes.expect(known.iter().filter_map(|key| Hole::from_key(key)).collect());
        (0..count).for_each(|_| holes.meet(time(newer), Some(100)));
        holes.close(older.map(time), Some(100))
    }

    #[test]
    fn one_keeps_its_key_while_its_neighbours_change() {
        let known = met(&[], 20, Some(10), 1);
        for (newer, older, is_same) in [
            (20, Some(10), true),
            // Another entry turned up between, or its neighbours are gone.
            (15, Some(10), true),
            (20, Some(15), true),
            (30, Some(5), true),
            (30, None, true),
            // The entry on its other side.
            (30, Some(20), false),
            (10, Some(5), false),
            (40, Some(30), false),
            // Neighbours of one second change places.
            (10, Some(10), true),
            (20, Some(20), true),
        ] {
            assert_eq!(met(&known, newer, older, 1) == known, is_same, "{newer} {older:?}");
        }
        let tied = met(&[], 7, Some(7), 1);
        assert_eq!(met(&tied, 7, Some(6), 1), tied);
        assert_eq!(met(&tied, 8, Some(7), 1), tied);
    }

    #[test]
    fn several_in_a_row_are_counted_each() {
        let two = met(&[], 20, Some(10), 2);
        assert_ne!(two[0], two[1]);
        assert_eq!(met(&two, 20, Some(10), 2), two);
        let three = met(&two, 20, Some(10), 3);
        assert_eq!((&three[..2], three.len()), (&two[..], 3));
        assert!(!two.contains(&three[2]));
        assert_eq!(met(&two, 20, Some(10), 1), two[..1]);
    }

    #[test]
    fn one_that_is_pushed_on_while_it_is_passed_is_one() {
        for (total, expected) in [(Some(101), 2), (Some(102), 1), (Some(105), 1), (Some(90), 3), (None, 3)] {
            let mut holes = Holes::default();
            (0..3).for_each(|_| holes.meet(time(20), Some(100)));
            assert_eq!(holes.close(Some(time(10)), total).len(), expected, "{total:?}");
        }
    }

    #[test]
    fn times_say_where_one_may_be() {
        let key = &met(&[], 20, Some(10), 1)[0];
        let hole = Hole::from_key(key).unwrap();
        assert!(hole.may_be_since(time(5)) && hole.may_be_since(time(20)) && !hole.may_be_since(time(21)));
        // Between neighbours of one second it may be on either side of each.
        let mut holes = Holes::default();
        holes.expect(met(&[], 7, Some(7), 1).iter().filter_map(|key| Hole::from_key(key)).collect());
        assert!(holes.is_one_behind(Some(time(8))) && holes.is_one_behind(Some(time(7))));
        assert!(!holes.is_one_behind(Some(time(6))));
        assert!(holes.is_one_at(Some(time(7))) && !holes.is_one_at(Some(time(8))));
    }

    #[test]
    fn what_is_met_again_from_the_top_is_counted_then() {
        let mut holes = Holes::default();
        holes.meet(time(20), Some(100));
        holes.begin_again();
        assert_eq!(holes.close(Some(time(30)), Some(100)), []);
        holes.meet(time(20), Some(100));
        assert_eq!(holes.close(Some(time(10)), Some(100)), met(&[], 20, Some(10), 1));
    }

    #[test]
    fn a_key_says_where_it_stands() {
        let key = &met(&[], 20, Some(10), 1)[0];
        assert_eq!(Hole::from_key(key).unwrap(), Hole { key: key.clone(), older: time(10), newer: time(20) });
        assert_eq!(Hole::from_key("id:x"), None);
        assert_eq!(Hole::from_key("unreadable:x~1~0"), None);
        let mut holes = Holes::default();
        holes.expect(vec![Hole::from_key(key).unwrap()]);
        assert!(
            holes.is_one_behind(None) && holes.is_one_behind(Some(time(11))) && !holes.is_one_behind(Some(time(10)))
        );
        assert!(
            holes.is_one_at(None)
                && holes.is_one_at(Some(time(20)))
                && [10, 21].iter().all(|second| !holes.is_one_at(Some(time(*second))))
        );
    }
}
