//! Verifies passwords with bcrypt, which is slow on purpose, for many clients on few threads.
//!
//! Fair where guesses pile up: each client address has a line of its own, lines take turns, and in a line the newest
//! comes first. So whoever knows the password waits for the guess under way, not for those before it. Lines that grow
//! too long lose their oldest. How long a verification takes tells nothing of which users exist: it tries one hash of
//! each cost in the file, whoever asks. Called by [`super::auth`].

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bcrypt::HashParts;
use tokio::sync::oneshot;

/// Verifications that wait, over all clients. At the usual cost of 10 they are done within a few seconds.
const MAX_WAITING: usize = 64;
/// Threads that verify at the same time, at most. They take half of the processors: guesses must not keep the daemon
/// from serving and polling.
const MAX_THREADS: usize = 2;

/// A password, and what to compare it with.
pub(super) struct PasswordCheck {
    password: Vec<u8>,
    /// The hash that it has to match, if the user exists.
    own: Option<String>,
    /// A hash of each other cost.
    others: Vec<String>,
}

impl PasswordCheck {
    /// Of the password of `user`, one of `users` or not.
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
        // All of them, whatever the first says.
        let is_right = self.own.as_ref().is_some_and(matches);
        let others = self.others.iter().filter(|hash| matches(hash)).count();
        std::hint::black_box(others);
        is_right
    }
}

fn cost(hash: &str) -> Option<u32> {
    hash.parse::<HashParts>().ok().map(|parts| parts.get_cost())
}

/// Too many others wait to be verified, and this one has waited for longest.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Crowded;

/// The verifications that wait and that are under way. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Verifications(Arc<Mutex<VerificationLines>>);

#[derive(Debug)]
struct VerificationLines {
    /// By client, the next one first; of each the newest last. None is empty.
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
    /// If so many wait that this one has been given up.
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
            // Ends when nothing waits any more.
            drop(tokio::task::spawn_blocking(move || all.work()));
        }
        answer.await.map_err(|_dropped| Crowded)
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
            // Where the client has gone meanwhile, nobody wants to know.
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
            // Of lines that are equally long the oldest: `max_by_key` returns the last one.
            && let Some((_, longest)) = self.lines.iter_mut().rev().max_by_key(|(_, line)| line.len())
        {
            longest.pop_front();
        }
        self.lines.retain(|(_, line)| !line.is_empty());
    }

    /// Takes the next one whose client is still there.
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

/// What one client can send from: an IPv4 address, also if it is mapped into IPv6, or a /64 of IPv6.
fn network(client: IpAddr) -> IpAddr {
    match client.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6((u128::from(address) & !u128::from(u64::MAX)).into()),
        address => address,
    }
}

#[cfg(test)]
mod tests;
