//! Who comes next, and that a verification costs the same for everybody.

use super::*;

const ONE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
const OTHER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

fn users(users: &[(&str, &str, u32)]) -> BTreeMap<String, String> {
    let hash =
        |(name, password, cost): &(&str, &str, u32)| ((*name).to_owned(), bcrypt::hash(password, *cost).unwrap());
    users.iter().map(hash).collect()
}

/// Waits with `password` in `lines`; the receiver tells whether it still does.
fn push(lines: &mut VerificationLines, client: IpAddr, password: u16) -> oneshot::Receiver<bool> {
    let (answer, receiver) = oneshot::channel();
    let check = PasswordCheck::new(&BTreeMap::new(), "nobody", password.to_be_bytes().to_vec());
    lines.push(client, WaitingCheck { check, answer });
    receiver
}

fn pop(lines: &mut VerificationLines) -> Option<u16> {
    lines.pop().map(|next| u16::from_be_bytes(next.check.password.try_into().unwrap()))
}

fn no_lines() -> VerificationLines {
    VerificationLines { lines: VecDeque::new(), running: 0, threads: 1 }
}

#[test]
fn clients_take_turns_and_the_newest_of_each_comes_first() {
    let mut lines = no_lines();
    let mut receivers: Vec<_> = (0..4).map(|password| push(&mut lines, ONE, password)).collect();
    receivers.push(push(&mut lines, OTHER, 10));
    receivers.push(push(&mut lines, OTHER, 11));
    assert_eq!([(); 3].map(|()| pop(&mut lines)), [Some(3), Some(11), Some(2)]);
    // One that has gone away is passed over.
    drop(receivers.remove(4));
    assert_eq!([(); 3].map(|()| pop(&mut lines)), [Some(1), Some(0), None]);
}

#[test]
fn the_longest_line_loses_its_oldest_when_there_are_too_many() {
    let mut lines = no_lines();
    let mut from_other = push(&mut lines, OTHER, 1000);
    let mut receivers: Vec<_> = (0..200).map(|password| push(&mut lines, ONE, password)).collect();
    let is_waiting =
        |receiver: &mut oneshot::Receiver<bool>| receiver.try_recv() == Err(oneshot::error::TryRecvError::Empty);
    assert_eq!(receivers.iter_mut().map(is_waiting).filter(|is_waiting| *is_waiting).count(), MAX_WAITING - 1);
    assert!(is_waiting(&mut from_other));
    assert!(receivers[0].try_recv() == Err(oneshot::error::TryRecvError::Closed));
}

#[test]
fn a_network_is_one_client_and_many_of_them_keep_no_newcomer_out() {
    for (one, other) in [("2001:db8::1", "2001:db8::ffff:2"), ("::ffff:192.0.2.1", "192.0.2.1")] {
        assert_eq!(network(one.parse().unwrap()), network(other.parse().unwrap()));
    }
    for (one, other) in [("2001:db8::1", "2001:db8:0:1::1"), ("::ffff:192.0.2.1", "::ffff:192.0.2.2")] {
        assert_ne!(network(one.parse().unwrap()), network(other.parse().unwrap()));
    }
    let mut lines = no_lines();
    let client = |number: usize| IpAddr::V4(std::net::Ipv4Addr::from(u32::try_from(number).unwrap()));
    let mut receivers: Vec<_> = (0..=MAX_WAITING).map(|number| push(&mut lines, client(number), 1)).collect();
    let mut newest = receivers.pop().unwrap();
    assert_eq!(newest.try_recv(), Err(oneshot::error::TryRecvError::Empty), "the newcomer waits");
    assert_eq!(receivers[0].try_recv(), Err(oneshot::error::TryRecvError::Closed), "the oldest has been given up");
}

#[test]
fn everybody_is_compared_with_a_hash_of_each_cost() {
    let users = users(&[("cheap", "a", 4), ("alike", "b", 4), ("dear", "c", 6)]);
    for (user, own_cost) in [("cheap", Some(4)), ("alike", Some(4)), ("dear", Some(6)), ("nobody", None)] {
        let check = PasswordCheck::new(&users, user, Vec::new());
        assert_eq!(check.own.as_deref().and_then(cost), own_cost);
        let mut costs: Vec<_> = check.own.iter().chain(&check.others).map(|hash| cost(hash)).collect();
        costs.sort_unstable();
        assert_eq!(costs, [Some(4), Some(6)], "{user}");
    }
}

#[tokio::test]
async fn only_the_own_password_is_right() {
    let users = users(&[("a", "one", 4), ("b", "two", 5)]);
    let verifications = Verifications::default();
    for (user, password, is_right) in [("a", "one", true), ("b", "two", true), ("a", "two", false), ("x", "one", false)]
    {
        let check = PasswordCheck::new(&users, user, password.into());
        assert_eq!(verifications.verify(ONE, check).await, Ok(is_right), "{user} {password}");
    }
    // The threads end when nothing waits any more, a moment after the last answer.
    while verifications.lock().running > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_failed_login_is_answered_late_while_others_wait() {
    let verifications = Verifications(Arc::new(Mutex::new(no_lines())));
    let held_back = async || {
        let begun = tokio::time::Instant::now();
        verifications.hold_back().await;
        u64::try_from(begun.elapsed().as_millis()).unwrap()
    };
    assert_eq!(held_back().await, 0);
    let _waits = push(&mut verifications.lock(), OTHER, 1);
    assert!(HELD_BACK_MILLIS.contains(&held_back().await));
    _ = pop(&mut verifications.lock());
    assert_eq!(held_back().await, 0);
}
