//! Lines on their way to a reader who may be slow or may have stopped reading.
//!
//! *Invariant:* logging never waits. A line that finds the queue full is dropped and counted, and once the reader has
//! caught up, one line says how many are missing. Only the thread that writes ever waits for the reader; nothing waits
//! for that thread but [`LineQueue::drain`], which has a deadline. Used by [`super`] for stderr.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// More than 1,000 lines, which is hours of trouble at the level `info`; as much again may be on its way to the reader.
pub(super) const CAPACITY_BYTES: usize = 256 * 1024;
/// If another process has made the descriptor non-blocking, such as a shared terminal, writing is retried after this
/// long.
const RETRY_AFTER: Duration = Duration::from_millis(20);

/// Called when lines that were dropped can be reported, with their number since the last report.
pub(super) type Report = fn(u64);

/// A bounded queue of lines with a thread that writes them. Clones share it.
#[derive(Clone)]
pub(super) struct LineQueue(Arc<SharedLines>);

struct SharedLines {
    capacity_bytes: usize,
    waiting: Mutex<WaitingLines>,
    changed: Condvar,
    dropped: AtomicU64,
}

#[derive(Default)]
struct WaitingLines {
    lines: VecDeque<Vec<u8>>,
    bytes: usize,
    /// Whether lines that were taken out are still being written.
    is_writing: bool,
}

impl LineQueue {
    /// Starts the thread that writes to `out`.
    ///
    /// # Errors
    /// If the operating system refuses another thread.
    pub(super) fn start(out: impl Write + Send + 'static, capacity_bytes: usize, report: Report) -> io::Result<Self> {
        let queue = Self(Arc::new(SharedLines {
            capacity_bytes,
            waiting: Mutex::default(),
            changed: Condvar::new(),
            dropped: AtomicU64::new(0),
        }));
        let writer = queue.clone();
        // Never joined: at the end of the process it may be waiting for a reader who never reads.
        thread::Builder::new().name("log".to_owned()).spawn(move || writer.write_all_to(out, report))?;
        Ok(queue)
    }

    /// Queues a line, which ends with a line break; drops it if there is no room.
    pub(super) fn push(&self, line: &[u8]) {
        let mut waiting = self.waiting();
        // A line larger than the queue is sent alone.
        if waiting.lines.is_empty() || waiting.bytes + line.len() <= self.0.capacity_bytes {
            waiting.bytes += line.len();
            waiting.lines.push_back(line.to_owned());
            self.0.changed.notify_all();
        } else {
            self.0.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many lines were dropped so far.
    pub(super) fn dropped(&self) -> u64 {
        self.0.dropped.load(Ordering::Relaxed)
    }

    /// Waits until everything is written, but no longer than `patience`. Returns whether everything is.
    pub(super) fn drain(&self, patience: Duration) -> bool {
        let is_busy = |waiting: &mut WaitingLines| waiting.is_writing || !waiting.lines.is_empty();
        let waited = self.0.changed.wait_timeout_while(self.waiting(), patience, is_busy);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }

    fn waiting(&self) -> MutexGuard<'_, WaitingLines> {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_all_to(&self, mut out: impl Write, report: Report) {
        let (mut reported, mut is_writable) = (0, true);
        loop {
            let lines = self.take();
            let dropped = self.dropped();
            // The queue is empty, so there is room for this after the lines that were logged before the first dropped
            // one. While nothing can be written, such as to a full disk, this cannot be written either.
            if is_writable && dropped > reported {
                report(dropped - reported);
                reported = dropped;
            }
            let unwritten = lines.iter().filter(|line| write(&mut out, line).is_err()).count() as u64;
            self.0.dropped.fetch_add(unwritten, Ordering::Relaxed);
            is_writable = unwritten == 0;
        }
    }

    /// Waits for lines and takes all of them.
    fn take(&self) -> VecDeque<Vec<u8>> {
        let mut waiting = self.waiting();
        waiting.is_writing = false;
        self.0.changed.notify_all();
        let waited = self.0.changed.wait_while(waiting, |waiting| waiting.lines.is_empty());
        let mut waiting = waited.unwrap_or_else(PoisonError::into_inner);
        waiting.is_writing = true;
        waiting.bytes = 0;
        std::mem::take(&mut waiting.lines)
    }
}

fn write(out: &mut impl Write, mut rest: &[u8]) -> io::Result<()> {
    while !rest.is_empty() {
        match out.write(rest) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(RETRY_AFTER),
            Err(error) => return Err(error),
        }
    }
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::OnceLock;
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
    use std::time::Instant;

    /// Longer than any of this takes, unless there is a defect.
    const PATIENCE: Duration = Duration::from_secs(60);
    /// Room for the two lines of the tests.
    const CAPACITY: usize = 12;

    /// Passes on what is written when somebody takes it, as a full pipe does.
    struct Pipe(SyncSender<Vec<u8>>);

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.send(bytes.to_owned()).map_err(|_closed| ErrorKind::BrokenPipe)?;
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn pipe() -> (Pipe, Receiver<Vec<u8>>) {
        let (sender, receiver) = sync_channel(0);
        (Pipe(sender), receiver)
    }

    fn next(reader: &Receiver<Vec<u8>>) -> String {
        String::from_utf8(reader.recv_timeout(PATIENCE).expect("a line")).expect("text")
    }

    /// Waits until the thread that writes has taken what waits, and hangs on its reader.
    fn wait_until_taken(queue: &LineQueue) {
        let deadline = Instant::now() + PATIENCE;
        while !queue.waiting().lines.is_empty() {
            assert!(Instant::now() < deadline, "nobody takes it");
            thread::yield_now();
        }
    }

    #[test]
    fn lines_beyond_the_capacity_are_dropped_counted_and_reported_once_in_their_place() {
        static QUEUE: OnceLock<LineQueue> = OnceLock::new();
        let report: Report = |count| QUEUE.get().expect("set").push(format!("dropped {count}\n").as_bytes());
        let (pipe, reader) = pipe();
        let queue = QUEUE.get_or_init(|| LineQueue::start(pipe, CAPACITY, report).expect("a thread"));
        queue.push(b"first\n");
        wait_until_taken(queue);
        for line in [b"line1\n", b"line2\n", b"line3\n", b"line4\n"] {
            queue.push(line);
        }
        assert_eq!(queue.dropped(), 2);
        assert!(!queue.drain(Duration::from_millis(1)), "nobody reads");
        let lines: Vec<String> = (0..4).map(|_| next(&reader)).collect();
        assert_eq!(lines[..3], ["first\n", "line1\n", "line2\n"]);
        assert_eq!(lines[3], "dropped 2\n");
        queue.push(b"later\n");
        assert_eq!(next(&reader), "later\n");
        assert!(queue.drain(PATIENCE));
        assert_eq!(queue.dropped(), 2);
    }

    #[test]
    fn lines_that_cannot_be_written_count_as_dropped_and_are_not_reported_in_vain() {
        let (pipe, reader) = pipe();
        drop(reader);
        let queue = LineQueue::start(pipe, CAPACITY, |_| panic!("there is nobody to report to")).expect("a thread");
        queue.push(b"lost\n");
        assert!(queue.drain(PATIENCE));
        assert_eq!(queue.dropped(), 1);
    }

    #[test]
    fn a_line_larger_than_the_queue_goes_out_alone() {
        let (pipe, reader) = pipe();
        let queue = LineQueue::start(pipe, CAPACITY, |_| {}).expect("a thread");
        queue.push(&[b'x'; 2 * CAPACITY]);
        assert_eq!(next(&reader).len(), 2 * CAPACITY);
        assert!(queue.drain(PATIENCE));
    }

    #[test]
    fn what_would_block_is_written_in_the_end() {
        struct Nonblocking(u8, Pipe);
        impl Write for Nonblocking {
            fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
                self.0 += 1;
                match self.0 {
                    1 => Err(ErrorKind::WouldBlock.into()),
                    2 => Err(ErrorKind::Interrupted.into()),
                    // A part of it.
                    _ => self.1.write(&bytes[..1]),
                }
            }

            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let (pipe, reader) = pipe();
        let queue = LineQueue::start(Nonblocking(0, pipe), CAPACITY, |_| {}).expect("a thread");
        queue.push(b"ab\n");
        assert_eq!([next(&reader), next(&reader), next(&reader)].concat(), "ab\n");
        assert!(queue.drain(PATIENCE));
        assert_eq!(queue.dropped(), 0);
    }
}
