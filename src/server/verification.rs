//! Verifies passwords with bcrypt, which is slow on purpose, for many clients on few threads.
//!
//! It stays fair while somebody guesses passwords: each client address has its own queue, the queues take turns, and
//! the newest of a queue comes first. So a client with the right password waits for the current guess only, not for all
//! earlier ones. If too many wait, the longest queue loses its oldest. While others wait, a failed login is answered
//! late, so that clients who guess at the same address as the scraper cannot fill the queue again and again. The duration
//! does not reveal which users exist: one hash of each cost in the file is tried for every user name. Called by
//! [`super::auth`].

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::num::NonZero;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bcrypt::HashParts;
use rand::RngExt;
use tokio::sync::oneshot;

/// How many verifications may wait, over all clients. At the usual cost of 10 they are done within a few seconds.
const MAX_WAITING: usize = 64;
/// How many threads verify at the same time, at most half of the processors: guesses must not keep the daemon from
/// serving and polling.
const MAX_THREADS: usize = 2;

/// How long the answer to a failed login is held back while others wait, in milliseconds. By chance, so that those who
/// were held back do not come again all at once; shorter than the time that a request may take.
const HELD_BACK_MILLIS: RangeInclusive<u64> = 15_000..=28_000;

/// A password, and the hashes to compare it with.
pub(super) struct PasswordCheck {
    password: Vec<u8>,
    /// The hash that it must match; `None` if the user does not exist.
    own: Option<String>,
    /// A hash of each other cost.
    others: Vec<String>,
}

impl PasswordCheck {
    /// Prepares the check of a password of `user`, who need not be in `users`.
    pub(super) fn new(users: &BTreeMap<String, String>, user: &str, password: Vec<u8>) -> Self {
        let own = users.get(user).cloned();
        let mut by_cost: BTreeMap<Option<u32>, &String> = users.values().map(|hash| (cost(hash), hash)).collect();
        if let Some(own) = &own {
            by_cost.remove(&cost(own));
        }
        Self { password, own, others: by_cost.into_values().cloned().collect() }
    }

    fn is_right(&self) -> bool {
        let matches = |hash: &String| bcrypt::verify(&self.password, hash).unwrap_or(false);
        // All of them are computed, whatever the first says.
        let is_right = self.own.as_ref().is_some_and(matches);
        let others = self.others.iter().filter(|hash| matches(hash)).count();
        std::hint::black_box(others);
        is_right
    }
}

fn cost(hash: &str) -> Option<u32> {
    hash.parse::<HashParts>().ok().map(|parts| parts.get_cost())
}

/// The verification was dropped: too many wait, and it was the oldest of the longest queue.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crowded;

/// The verifications that wait or are running. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Verifications(Arc<Mutex<VerificationLines>>);

#[derive(Debug)]
struct VerificationLines {
    /// One queue per client, the next client first; within a queue the newest is last. No queue is empty.
    lines: VecDeque<(IpAddr, VecDeque<WaitingCheck>)>,
    running: usize,
    threads: usize,
}

struct WaitingCheck {
    check: PasswordCheck,
    answer: oneshot::Sender<bool>,
}

impl std::fmt::Debug for WaitingCheck {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("WaitingCheck").finish_non_exhaustive()
    }
}

impl Default for Verifications {
    fn default() -> Self {
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        let lines =
            VerificationLines { lines: VecDeque::new(), running: 0, threads: (processors / 2).clamp(1, MAX_THREADS) };
        Self(Arc::new(Mutex::new(lines)))
    }
}

impl Verifications {
    /// Returns whether the password is right.
    ///
    /// # Errors
    /// If too many wait and this one was dropped.
    pub(super) async fn verify(&self, client: IpAddr, check: PasswordCheck) -> Result<bool, Crowded> {
        let (sender, answer) = oneshot::channel();
        let needs_thread = {
            let mut lines = self.lock();
            lines.push(client, WaitingCheck { check, answer: sender });
            let needs_thread = lines.running < lines.threads;
            lines.running += usize::from(needs_thread);
            needs_thread
        };
        if needs_thread {
            let all = self.clone();
            // The thread ends when nothing waits.
            drop(tokio::task::spawn_blocking(move || all.work()));
        }
        answer.await.map_err(|_dropped| Crowded)
    }

    /// Waits as long as the answer to a failed login is held back: not at all if nobody else waits.
    #[expect(clippy::disallowed_methods, reason = "a stop cuts requests off that are still waiting")]
    pub(super) async fn hold_back(&self) {
        if !self.lock().lines.is_empty() {
            let millis = rand::rng().random_range(HELD_BACK_MILLIS);
            tokio::time::sleep(Duration::from_millis(millis)).await;
        }
    }

    fn work(&self) {
        loop {
            let next = {
                let mut lines = self.lock();
                let next = lines.pop();
                lines.running -= usize::from(next.is_none());
                next
            };
            let Some(WaitingCheck { check, answer }) = next else { return };
            // Fails if the client has disconnected, which does not matter.
            let _gone = answer.send(check.is_right());
        }
    }

    fn lock(&self) -> MutexGuard<'_, VerificationLines> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl VerificationLines {
    fn push(&mut self, client: IpAddr, waiting: WaitingCheck) {
        let client = network(client);
        match self.lines.iter_mut().find(|(other, _)| *other == client) {
            Some((_, line)) => line.push_back(waiting),
            None => self.lines.push_back((client, VecDeque::from([waiting]))),
        }
        if self.lines.iter().map(|(_, line)| line.len()).sum::<usize>() > MAX_WAITING
            // Among queues of equal length the first: `max_by_key` returns the last maximum of the reversed order.
            && let Some((_, longest)) = self.lines.iter_mut().rev().max_by_key(|(_, line)| line.len())
        {
            longest.pop_front();
        }
        self.lines.retain(|(_, line)| !line.is_empty());
    }

    /// Takes the next verification whose client is still connected.
    fn pop(&mut self) -> Option<WaitingCheck> {
        while let Some((client, mut line)) = self.lines.pop_front() {
            let next = line.pop_back();
            if !line.is_empty() {
                self.lines.push_back((client, line));
            }
            if let Some(next) = next.filter(|next| !next.answer.is_closed()) {
                return Some(next);
            }
        }
        None
    }
}

/// Returns the network that counts as one client: an IPv4 address (also if mapped into IPv6), or a /64 of IPv6.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests;
