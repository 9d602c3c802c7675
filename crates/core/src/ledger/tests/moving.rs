//! Whatever a log does, and whatever becomes of those who read it: once it stands still, the totals are the truth.

use proptest::prelude::*;

use super::daemon::{Daemon, Fault};
use super::world::World;
use crate::delivery::AttemptStatus;
use crate::testing::{at, cases, policy};

/// One thing that happens.
#[derive(Clone, Copy, Debug)]
enum Event {
    /// Nothing, for so many seconds.
    Pause(i64),
    /// A new entry, dated so many seconds ahead.
    Add { ahead: i64, look: u8 },
    /// An entry that cannot be used.
    AddInvalid,
    /// An entry changes.
    Change { pick: u8, look: u8 },
    /// An entry is deleted.
    Delete { pick: u8 },
    /// The daemon reads a page.
    Request { size: usize, order: u8 },
    /// The daemon reads a page, and what its walk has read is put on disk, to be decided by so many.
    RequestAndStage { part: usize, order: u8 },
    /// The daemon polls while a sweep is under way.
    PollAside { order: u8 },
    /// The daemon reads open entries again.
    Recheck { picks: [u8; 2] },
    /// The next commit does not go well.
    Break(Fault),
    /// The daemon ends, and begins anew after so many seconds.
    Outage(i64),
}

/// Events are drawn from few bytes, which is ten times faster than from a tree of strategies.
fn event((kind, pick, look): (u8, u8, u8)) -> Event {
    let lookback = policy().windows.lookback.as_secs() as i64;
    match kind {
        0..8 => Event::Add { ahead: i64::from(pick % 2), look },
        8..11 => Event::Add { ahead: -(i64::from(pick) * lookback / 255), look },
        11 => Event::Add { ahead: i64::from(pick), look },
        12 => Event::AddInvalid,
        13..18 => Event::Change { pick, look },
        18 => Event::Delete { pick },
        19..28 => Event::Request { size: usize::from(look % 8), order: pick },
        28..31 => Event::RequestAndStage { part: 1 + usize::from(look % 4), order: pick },
        31..34 => Event::Recheck { picks: [pick, look] },
        34 => Event::Break([Fault::CrashBefore, Fault::CrashAfter, Fault::Full][usize::from(pick % 3)]),
        35 => Event::Outage(i64::from(pick % 2) * i64::from(look) * 2),
        36 => Event::Outage(i64::from(look) * 2),
        37 => Event::Pause(i64::from(pick) * 4),
        38 => Event::Pause(i64::from(pick) * 16),
        39..42 => Event::PollAside { order: pick },
        _ => Event::Pause(i64::from(pick % 16)),
    }
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    prop::collection::vec((0_u8..49, any::<u8>(), any::<u8>()).prop_map(event), 0..60)
}

fn happen(event: Event, world: &mut World, daemon: &mut Daemon) {
    match event {
        Event::Pause(seconds) => world.pass(seconds),
        Event::Add { ahead, look } => world.add(ahead, look),
        Event::AddInvalid => world.add_invalid(),
        Event::Change { pick, look } => world.change(pick, look),
        Event::Delete { pick } => world.delete(pick),
        Event::Request { size, order } => {
            daemon.request(world, size, order);
        }
        Event::RequestAndStage { part, order } => {
            daemon.part = part;
            daemon.request(world, 2, order);
            daemon.stage(world.now);
        }
        Event::PollAside { order } => daemon.poll_aside(world, order),
        Event::Recheck { picks } => daemon.recheck(world, &picks, picks[0]),
        Event::Break(fault) => daemon.fault = Some(fault),
        Event::Outage(seconds) => {
            world.pass(seconds);
            daemon.restart();
        }
    }
}

/// Reads the whole window again, now that nothing moves any more.
fn sweep(world: &mut World, daemon: &mut Daemon) {
    daemon.fault = None;
    // What was under way is completed first; then comes a sweep.
    for _ in 0..3 {
        world.pass(policy().windows.sweep_interval.as_secs() as i64);
        // By the smallest pages: none reads further than it must.
        while !daemon.request(world, 1, 0) {}
    }
}

/// Reads every open entry again.
fn recheck(world: &World, daemon: &mut Daemon) {
    let open = daemon.ledger.open().count();
    for pick in (0..open).rev() {
        // What is open no more stands behind: it was the last one.
        let pick = pick as u8;
        daemon.recheck(world, &[pick, pick], 0);
    }
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn a_log_that_has_moved_in_any_way_is_counted_in_full_and_once(events in events()) {
        let mut world = World::default();
        let mut daemon = Daemon::new();
        for event in events {
            happen(event, &mut world, &mut daemon);
        }
        sweep(&mut world, &mut daemon);
        recheck(&world, &mut daemon);

        let cut = daemon.ledger.marks().history_cutoff.unwrap();
        for entry in world.list(0).iter().filter(|entry| entry.created_at >= cut) {
            let known = daemon.oracle.entries.get(&entry.id);
            prop_assert!(known.is_some(), "{entry:?} is not in the books");
            let is_counted = known.is_some_and(|known| known.counted.is_some() || known.is_done);
            prop_assert!(is_counted || entry.status == AttemptStatus::Pending, "{entry:?} is not counted");
        }
        for (id, known) in &daemon.oracle.entries {
            let is_true = known.counted.as_ref().is_none_or(|counted| world.past(id).contains(counted));
            prop_assert!(is_true, "{id} was never as it was counted");
        }
        prop_assert!(daemon.ledger.marks().watermark <= Some(at(world.now)));

        // What is open is followed until its time is over.
        world.pass(policy().windows.settle_after.as_secs() as i64);
        recheck(&world, &mut daemon);
        prop_assert_eq!(daemon.ledger.open().count(), 0);
        let [entries, attempts, expired] = daemon.books();
        prop_assert_eq!((entries, entries), (daemon.oracle.entries.len() as u64, attempts + expired));
    }
}
