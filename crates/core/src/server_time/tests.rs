//! What the clock shows after each answer of a script. Times are seconds; the local clock shows 0 at the start.

use super::*;
use crate::testing::at;

const MINUTE: i64 = 60;
const DAY: i64 = 24 * 3600;

/// A clock that was started at second 0, when the local clock showed `local`.
fn clock(local: i64) -> BelievedClock {
    BelievedClock::new(LocalTime::new(at(local)), SinceStart::default())
}

/// An answer at a second since the start with this `Date`, and what is believed after it.
type Step = (u64, Option<i64>, i64, Certainty);

fn play(clock: &mut BelievedClock, steps: &[Step]) {
    for (number, (second, date, now, certainty)) in steps.iter().enumerate() {
        let moment = SinceStart::new(Duration::from_secs(*second));
        let observed = clock.observe(date.map(|date| DateHeader(at(date))), moment);
        let expected = (ServerTime::new(at(*now)), *certainty);
        assert_eq!((observed.now, observed.certainty), expected, "answer {number} of {steps:?}");
    }
}

use Certainty::{Assumed, Confirmed};

#[test]
fn a_date_near_the_local_clock_is_believed_at_once_and_followed() {
    play(
        &mut clock(0),
        &[
            (10, Some(14), 14, Confirmed),
            (20, Some(24), 24, Confirmed),
            // Slewed by almost the tolerance, in either direction.
            (30, Some(34 + 5 * MINUTE), 34 + 5 * MINUTE, Confirmed),
            (40, Some(44), 44, Confirmed),
        ],
    );
}

#[test]
fn a_first_answer_that_lies_by_two_days_settles_nothing() {
    for lie in [2 * DAY, -2 * DAY] {
        play(&mut clock(0), &[(1, Some(1 + lie), 1, Assumed), (2, Some(2), 2, Confirmed), (3, Some(3), 3, Confirmed)]);
    }
}

#[test]
fn a_local_clock_that_is_wrong_is_outvoted_by_three_answers() {
    for wrong in [2 * DAY, -2 * DAY] {
        play(
            &mut clock(wrong),
            &[
                (1, Some(1), 1 + wrong, Assumed),
                (2, Some(2), 2 + wrong, Assumed),
                (3, Some(3), 3, Confirmed),
                (4, Some(4), 4, Confirmed),
            ],
        );
    }
}

#[test]
fn without_any_date_the_time_goes_on_with_the_time_since_the_start() {
    // The local clock is asked once. That it jumps by a day later reaches nobody.
    play(
        &mut clock(0),
        &[
            (1, None, 1, Assumed),
            (2, None, 2, Assumed),
            (3, None, 3, Confirmed),
            (2 * DAY as u64, None, 2 * DAY, Confirmed),
        ],
    );
}

#[test]
fn a_date_that_is_missing_is_filled_in_from_the_last_one_believed() {
    play(&mut clock(0), &[(10, Some(100), 100, Confirmed), (70, None, 160, Confirmed)]);
}

#[test]
fn a_jump_counts_when_the_two_answers_after_it_agree() {
    for jump in [DAY, -DAY] {
        play(
            &mut clock(0),
            &[
                (10, Some(10), 10, Confirmed),
                (20, Some(20 + jump), 20, Confirmed),
                (30, Some(30 + jump), 30, Confirmed),
                (40, Some(40 + jump), 40 + jump, Confirmed),
                (50, Some(50), 50 + jump, Confirmed),
                (60, Some(60 + jump), 60 + jump, Confirmed),
            ],
        );
    }
}

#[test]
fn two_agreeing_lies_between_right_answers_are_not_believed() {
    play(
        &mut clock(0),
        &[
            (10, Some(10), 10, Confirmed),
            (20, Some(20 + DAY), 20, Confirmed),
            (30, Some(30 + DAY), 30, Confirmed),
            (40, Some(40), 40, Confirmed),
            (50, Some(50 + DAY), 50, Confirmed),
            (60, Some(60 + DAY), 60, Confirmed),
            (70, Some(70), 70, Confirmed),
        ],
    );
}

#[test]
fn lies_that_do_not_agree_with_each_other_are_never_believed() {
    let mut clock = clock(0);
    play(&mut clock, &[(0, Some(0), 0, Confirmed)]);
    for number in 1..100_i64 {
        // Neither a stopped clock nor one that runs at another speed agrees with itself.
        let (stopped, fast) = (3 * DAY, number * 10 * DAY);
        let lie = if number % 2 == 0 { stopped } else { fast };
        play(&mut clock, &[(number as u64 * 600, Some(lie), number * 600, Confirmed)]);
    }
}

#[test]
fn what_says_nothing_does_not_speak_against_a_jump() {
    play(
        &mut clock(0),
        &[
            (10, Some(10), 10, Confirmed),
            (20, Some(20 + DAY), 20, Confirmed),
            (30, None, 30, Confirmed),
            (40, Some(40 + DAY), 40, Confirmed),
            (50, None, 50, Confirmed),
            (60, Some(60 + DAY), 60 + DAY, Confirmed),
        ],
    );
}

#[test]
fn an_api_that_agrees_with_nobody_does_not_keep_the_clock_unsettled() {
    // The last claim is the earlier one, or the later one.
    for parity in [0, 1] {
        let mut clock = clock(100 * DAY);
        let claimed = |number: i64| if number % 2 == parity { number } else { number + 50 * DAY };
        for number in 1..12_i64 {
            play(&mut clock, &[(number as u64, Some(claimed(number)), number + 100 * DAY, Assumed)]);
        }
        let observed = clock.observe(Some(DateHeader(at(claimed(12)))), SinceStart::new(Duration::from_secs(12)));
        assert_eq!(observed.news, ClockNews::Undecided);
        assert_eq!((observed.now, observed.certainty), (ServerTime::new(at(12)), Confirmed), "the earliest");
    }
}

#[test]
fn each_change_is_news_once() {
    let mut clock = clock(0);
    let news = [10, 20 + DAY, 30 + DAY, 40, 50 + DAY, 60 + DAY, 70 + DAY, 80 + DAY].map(|date| {
        let second = u64::try_from(date % DAY).unwrap();
        clock.observe(Some(DateHeader(at(date))), SinceStart::new(Duration::from_secs(second))).news
    });
    let doubted = |date| ClockNews::Doubted { claimed: DateHeader(at(date)) };
    let moved = ClockNews::Moved { from: ServerTime::new(at(70)) };
    let none = ClockNews::None;
    assert_eq!(news, [none, doubted(20 + DAY), none, none, doubted(50 + DAY), none, moved, none]);
}
