//! The values of every series over time, until the output file is written.
//!
//! The past is decided webhook by webhook in the order of time, but written family by family, series by series. The
//! spool sits in between: it keeps the increases of each series as variable-length integers in an unnamed temporary
//! file. Memory holds only their places in the file, and the end of each series of the webhook that is being decided,
//! so that a million entries need no more memory than a thousand.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::grid::GridTime;
use talkover_core::delivery::AttemptStatus;
use talkover_core::ledger::series::{Family, SeriesKey};

/// A series is written to the file in chunks of about this size.
const CHUNK_BYTES: usize = 1024;

/// A series of one webhook.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum PastSeries {
    /// A series whose total the state keeps.
    Total(SeriesKey),
    /// The time of the newest attempt with that outcome.
    LastAttempt(AttemptStatus),
}

/// The numbers of a series from one sample on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Point {
    /// The first sample that has them.
    pub slot: GridTime,
    /// A counter's value; a histogram's buckets (not cumulative) and its sum; a gauge's time in microseconds. They only
    /// grow.
    pub numbers: Vec<u64>,
}

/// All series of all webhooks. Webhooks are identified by number.
#[derive(Debug)]
pub struct Spool {
    file: File,
    length: u64,
    /// By family (`None` for series that the state does not keep), then by webhook, then by labels.
    series: BTreeMap<(Option<Family>, usize, PastSeries), SeriesTail>,
}

/// What memory holds of a series.
#[derive(Debug)]
struct SeriesTail {
    /// The places and lengths of its older points in the file, in bytes.
    chunks: Vec<(u64, usize)>,
    /// Its newer points.
    bytes: Vec<u8>,
    last: Point,
}

impl Spool {
    /// Returns an empty spool, with an unnamed file in `directory`.
    ///
    /// # Errors
    /// If the file cannot be made.
    pub fn new(directory: &Path) -> io::Result<Self> {
        Ok(Self { file: tempfile::tempfile_in(directory)?, length: 0, series: BTreeMap::new() })
    }

    /// Adds the next point of a series of the webhook `target`.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn push(&mut self, target: usize, series: PastSeries, point: Point) -> io::Result<()> {
        let family = match &series {
            PastSeries::Total(key) => Some(key.family),
            PastSeries::LastAttempt(_) => None,
        };
        let tail = self.series.entry((family, target, series)).or_insert_with(|| SeriesTail::new(point.numbers.len()));
        write_number(&mut tail.bytes, point.slot.number().abs_diff(tail.last.slot.number()));
        for (after, before) in point.numbers.iter().zip(&tail.last.numbers) {
            write_number(&mut tail.bytes, after.saturating_sub(*before));
        }
        tail.last = point;
        if tail.bytes.len() >= CHUNK_BYTES {
            tail.write(&self.file, &mut self.length)?;
        }
        Ok(())
    }

    /// Writes the newer points of the webhook `target` to the file, to free their memory; called when it is decided.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn flush(&mut self, target: usize) -> io::Result<()> {
        for family in Family::ALL.into_iter().map(Some).chain([None]) {
            let of_it = self.series.range_mut(first(family, target)..);
            for (_, tail) in of_it.take_while(|(key, _)| key.0 == family && key.1 == target) {
                tail.write(&self.file, &mut self.length)?;
                tail.bytes = Vec::new();
            }
        }
        Ok(())
    }

    /// Returns the series of the webhook `target` in `family` (`None`: those that the state does not keep), in the
    /// order of their labels.
    pub fn series(&self, family: Option<Family>, target: usize) -> impl Iterator<Item = &PastSeries> {
        let is_of_it = move |key: &(Option<Family>, usize, PastSeries)| key.0 == family && key.1 == target;
        self.series
            .range(first(family, target)..)
            .map(|(key, _)| key)
            .take_while(move |key| is_of_it(key))
            .map(|(.., series)| series)
    }

    /// Returns the number of series.
    pub fn len(&self) -> usize {
        self.series.len()
    }

    /// Whether there are no series.
    pub fn is_empty(&self) -> bool {
        self.series.is_empty()
    }

    /// Reads the points of a series, oldest first.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn points(&self, family: Option<Family>, target: usize, series: &PastSeries) -> io::Result<Vec<Point>> {
        let Some(tail) = self.series.get(&(family, target, series.clone())) else { return Ok(Vec::new()) };
        let mut bytes = Vec::new();
        for (offset, length) in &tail.chunks {
            let start = bytes.len();
            bytes.resize(start + length, 0);
            self.file.read_exact_at(&mut bytes[start..], *offset)?;
        }
        bytes.extend(&tail.bytes);
        Ok(decode(&bytes, tail.last.numbers.len()))
    }
}

impl SeriesTail {
    fn new(numbers: usize) -> Self {
        let last = Point { slot: GridTime::from_number(0), numbers: vec![0; numbers] };
        Self { chunks: Vec::new(), bytes: Vec::new(), last }
    }

    /// Appends the newer points to `file`, which is `length` bytes long.
    fn write(&mut self, file: &File, length: &mut u64) -> io::Result<()> {
        if self.bytes.is_empty() {
            return Ok(());
        }
        file.write_all_at(&self.bytes, *length)?;
        self.chunks.push((*length, self.bytes.len()));
        *length += self.bytes.len() as u64;
        self.bytes.clear();
        Ok(())
    }
}

/// Returns a key that is not greater than that of any series of the webhook `target` in `family`.
fn first(family: Option<Family>, target: usize) -> (Option<Family>, usize, PastSeries) {
    (family, target, PastSeries::Total(SeriesKey { family: Family::Attempts, labels: Box::default() }))
}

fn decode(bytes: &[u8], numbers: usize) -> Vec<Point> {
    let mut rest = bytes.iter();
    let mut last = Point { slot: GridTime::from_number(0), numbers: vec![0; numbers] };
    let mut points = Vec::new();
    while !rest.as_slice().is_empty() {
        let steps = i64::try_from(read_number(&mut rest)).unwrap_or(i64::MAX);
        last.slot = GridTime::from_number(last.slot.number().saturating_add(steps));
        last.numbers.iter_mut().for_each(|number| *number = number.saturating_add(read_number(&mut rest)));
        points.push(last.clone());
    }
    points
}

/// Writes seven bits per byte, lowest first; the highest bit says that more follow (LEB128).
fn write_number(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn read_number<'a>(bytes: &mut impl Iterator<Item = &'a u8>) -> u64 {
    let mut number = 0;
    for (position, byte) in bytes.by_ref().enumerate() {
        number |= u64::from(byte & 0x7f).checked_shl(7 * position as u32).unwrap_or(0);
        if byte & 0x80 == 0 {
            break;
        }
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use talkover_core::ledger::series::LogOutcome;

    fn series(outcome: LogOutcome) -> PastSeries {
        PastSeries::Total(SeriesKey::log_entries(outcome))
    }

    proptest! {
        #[test]
        fn what_was_added_is_read_back(
            steps in prop::collection::vec((0_i64..1_000, prop::collection::vec(0_u64..u64::MAX / 4_000, 3)), 1..2_000),
            flushed in 0_usize..2_000,
        ) {
            let directory = tempfile::tempdir().unwrap();
            let mut spool = Spool::new(directory.path()).unwrap();
            let mut last = Point { slot: GridTime::from_number(5_900_000), numbers: vec![0; 3] };
            let mut all = Vec::new();
            for (step, increases) in steps {
                last.slot = GridTime::from_number(last.slot.number() + step);
                last.numbers.iter_mut().zip(increases).for_each(|(number, more)| *number += more);
                spool.push(1, series(LogOutcome::New), last.clone()).unwrap();
                all.push(last.clone());
                if all.len() == flushed {
                    spool.flush(1).unwrap();
                }
            }
            prop_assert_eq!(spool.points(Some(Family::LogEntries), 1, &series(LogOutcome::New)).unwrap(), all);
        }
    }

    #[test]
    fn series_come_by_family_and_webhook_in_the_order_of_their_labels() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(directory.path()).unwrap();
        let point = Point { slot: GridTime::from_number(1), numbers: vec![1] };
        let gap = PastSeries::Total(SeriesKey::history_gaps());
        let last = PastSeries::LastAttempt(AttemptStatus::Failed);
        for (target, series) in [
            (1, series(LogOutcome::New)),
            (0, series(LogOutcome::New)),
            (1, gap.clone()),
            (1, series(LogOutcome::Expired)),
            (1, last.clone()),
        ] {
            spool.push(target, series, point.clone()).unwrap();
        }
        let listed = |family, target| spool.series(family, target).cloned().collect::<Vec<_>>();
        let both = [LogOutcome::Expired, LogOutcome::New].map(series);
        assert_eq!(listed(Some(Family::LogEntries), 1), both);
        assert_eq!(listed(Some(Family::LogEntries), 0), both[1..]);
        assert_eq!(listed(Some(Family::HistoryGaps), 1), [gap]);
        assert_eq!(listed(None, 1), [last]);
        assert_eq!(listed(None, 0), []);
        assert_eq!(spool.len(), 5);
    }

    #[test]
    fn of_a_webhook_that_is_decided_no_point_stays_in_memory() {
        let directory = tempfile::tempdir().unwrap();
        let mut spool = Spool::new(directory.path()).unwrap();
        let point = Point { slot: GridTime::from_number(1), numbers: vec![1] };
        let all = [series(LogOutcome::New), PastSeries::LastAttempt(AttemptStatus::Failed)];
        for (target, series) in [0, 1].into_iter().flat_map(|target| all.clone().map(|series| (target, series))) {
            spool.push(target, series, point.clone()).unwrap();
        }
        spool.flush(1).unwrap();
        for ((.., target, series), tail) in &spool.series {
            assert_eq!(tail.bytes.capacity() == 0, *target == 1, "{series:?} of {target}");
        }
        assert_eq!(
            spool.points(Some(Family::LogEntries), 1, &all[0]).unwrap().as_slice(),
            std::slice::from_ref(&point)
        );
        assert_eq!(spool.points(None, 1, &all[1]).unwrap(), [point]);
    }
}
