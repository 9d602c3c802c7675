//! Runs of one second, page by page: what is told of a list while it is read decides how often a run is read.

use super::*;

/// A page of three: names with their seconds. A name that begins with `!` is an entry that cannot be used.
fn page_of(entries: &[(&str, i64)], total: Option<u64>) -> LogPage {
    let pagination = Pagination { per_page: Some(3), total, last_page: None };
    let mut page = LogPage { pagination, ..LogPage::default() };
    for (name, second) in entries {
        if name.starts_with('!') {
            page.invalid.push(InvalidEntry { key: (*name).into(), reason: "", place: page.attempts.len() });
        } else {
            let created_at = Timestamp::from_seconds(*second);
            page.attempts.push(Attempt { id: EntryId::new(name), created_at, ..entry(0) });
        }
    }
    page
}

/// Walks over pages that are those of `first` for the first `first.len()` requests, and those of `then` from there on.
/// Gives the names that were read, and the pages that were asked for.
fn read(first: &[&[(&str, i64)]], then: &[&[(&str, i64)]], total: Option<u64>) -> (Vec<String>, Vec<u32>) {
    let mut walk = Walk::new(Timestamp::from_seconds(0), 3);
    let mut asked = Vec::new();
    let mut end = Progress::More;
    while end == Progress::More {
        assert!(asked.len() < 200, "the walk does not end");
        let page = walk.request().page;
        let entries = first.get(asked.len()).or_else(|| then.get(page as usize - 1)).copied().unwrap_or_default();
        asked.push(page);
        end = walk.absorb(page_of(entries, total), NOTHING).unwrap();
    }
    let mut names: Vec<String> = walk.take().0.iter().map(|attempt| attempt.id.to_string()).collect();
    names.sort_unstable();
    names.dedup();
    (names, asked)
}

#[test]
fn a_run_whose_beginning_was_pulled_to_the_page_before_is_read_from_there() {
    let before: [&[_]; 4] = [
        &[("z", 9), ("y", 8), ("x", 7)],
        &[("a", 6), ("c", 2), ("d", 2)],
        &[("d", 2), ("e", 2), ("f", 2)],
        &[("g", 1)],
    ];
    // Two were deleted, of which nothing tells; `b` was hidden by the order in which its second came.
    let after: [&[_]; 3] = [&[("x", 7), ("a", 6), ("b", 2)], &[("c", 2), ("d", 2), ("e", 2)], &[("f", 2), ("g", 1)]];
    let (names, asked) = read(&before, &after, None);
    assert_eq!(names.concat(), "abcdefgxyz");
    // Four requests, one that shows where the run begins now, the round that brings `b`, and three that bring nothing.
    assert_eq!((&asked[..7], asked.len()), (&[1, 2, 3, 4, 2, 1, 2][..], 4 + 1 + 3 + 3 * 3));
}

#[test]
fn a_run_is_not_complete_by_its_places_where_an_unusable_entry_is_within_it() {
    let before: [&[_]; 4] = [
        &[("b", 2), ("c", 2), ("d", 2)],
        &[("e", 2), ("!", 2), ("f", 2)],
        &[("g", 2), ("!", 2), ("h", 2)],
        &[("z", 1)],
    ];
    let after: [&[_]; 4] = [
        &[("i", 2), ("b", 2), ("c", 2)],
        &[("d", 2), ("e", 2), ("!", 2)],
        &[("f", 2), ("g", 2), ("h", 2)],
        &[("z", 1)],
    ];
    let (names, asked) = read(&before, &after, Some(10));
    assert_eq!(names.concat(), "bcdefghiz");
    // The first round, the one that brings `i`, and twelve that bring nothing.
    assert_eq!(asked.len(), 14 * 4);
}

#[test]
fn an_unusable_entry_at_a_border_may_hide_another_one_behind_it() {
    // It begins the second page, and stands among the run's entries or at the end of the first one.
    for before in [
        [&[("b", 2), ("!", 2), ("c", 2)][..], &[("!", 2), ("a", 1), ("z", 1)]],
        [&[("b", 2), ("c", 2), ("!", 1)], &[("z", 1), ("!", 1), ("y", 1)]],
    ] {
        let after: [&[_]; 2] = [&[("e", 2), ("b", 2), ("!", 2)], &[("c", 2), ("a", 1), ("z", 1)]];
        let (names, _) = read(&before, &after, Some(6));
        assert!(names.iter().any(|name| name == "e"), "{before:?}: {names:?}");
    }
}

#[test]
fn an_unusable_entry_on_either_side_of_a_run_may_be_of_it() {
    for pages in [
        [&[("b", 2), ("c", 2), ("d", 2)][..], &[("e", 2), ("!", 2), ("z", 1)]],
        [&[("y", 3), ("!", 2), ("b", 2)], &[("c", 2), ("z", 1), ("x", 1)]],
    ] {
        let (_, asked) = read(&pages, &pages, Some(6));
        // The first round, twelve that bring nothing, and the empty page behind the end.
        assert_eq!(asked.len(), 13 * 2 + 1, "{pages:?}");
    }
}

#[test]
fn every_round_is_as_long_as_the_longest_where_an_unusable_entry_may_hide_the_end_of_a_run() {
    // `h`, of the second behind the run, is hidden by the unusable entry of its own second.
    let before: [&[_]; 3] =
        [&[("x", 3), ("b", 2), ("c", 2)], &[("d", 2), ("e", 2), ("!", 1)], &[("f", 1), ("!", 1), ("z", 0)]];
    let after: [&[_]; 3] =
        [&[("x", 3), ("b", 2), ("c", 2)], &[("d", 2), ("e", 2), ("f", 1)], &[("!", 1), ("h", 1), ("z", 0)]];
    let (names, asked) = read(&before, &after, Some(9));
    assert_eq!(names.concat(), "bcdefhxz");
    // The first round and twelve that bring nothing of the run; the same of the second behind it, which was only passed;
    // and the empty page behind the end.
    assert_eq!(asked, [[1, 2, 3].repeat(13), [2, 3].repeat(13), vec![4]].concat());
}

#[test]
fn a_run_that_was_not_complete_is_read_again_where_the_list_becomes_shorter() {
    const RUN: i64 = 2;
    let seconds = |names: &[&'static str], second| names.iter().map(|name| (*name, second)).collect::<Vec<_>>();
    let pages = [
        (14, [seconds(&["g", "c", "f", "e"], RUN)].concat()),
        (14, [seconds(&["e", "h", "b", "g"], RUN)].concat()),
        (16, [seconds(&["c", "h"], RUN), seconds(&["v", "w"], 1)].concat()),
        (16, [seconds(&["m", "n"], 3), seconds(&["c", "a"], RUN)].concat()),
        (18, [seconds(&["f", "g", "b", "c"], RUN)].concat()),
        (18, [seconds(&["h", "e", "b", "a"], RUN)].concat()),
        // Three of the newest are gone; `d` was not seen yet.
        (15, [seconds(&["y", "x", "z"], 1)].concat()),
    ];
    let then = [
        [seconds(&["m"], 3), seconds(&["d", "c", "a"], RUN)].concat(),
        seconds(&["f", "g", "e", "h"], RUN),
        [seconds(&["b"], RUN), seconds(&["v", "x", "y"], 1)].concat(),
        seconds(&["u", "w", "z"], 1),
    ];
    let mut walk = Walk::new(Timestamp::from_seconds(0), 4);
    let mut answers = pages.into_iter();
    let mut end = Progress::More;
    while end == Progress::More {
        let stable = || (15, then[walk.request().page as usize - 1].clone());
        let (total, entries) = answers.next().unwrap_or_else(stable);
        let pagination = Pagination { per_page: Some(4), total: Some(total), last_page: None };
        end = walk.absorb(LogPage { pagination, ..page_of(&entries, None) }, NOTHING).unwrap();
    }
    let (attempts, _) = walk.take();
    assert!(attempts.iter().any(|attempt| attempt.id == EntryId::new("d")));
}

#[test]
fn a_run_may_have_begun_on_a_page_of_unusable_entries_alone() {
    // `b` was hidden by the order in which its second came: it stood behind where page 1 was read, and before where
    // page 2 was.
    let before: [&[_]; 2] = [&[("!1", 2), ("!2", 2), ("!3", 2)], &[("!1", 2), ("a", 2), ("z", 1)]];
    let after: [&[_]; 2] = [&[("!1", 2), ("b", 2), ("a", 2)], &[("!2", 2), ("!3", 2), ("z", 1)]];
    let (names, asked) = read(&before, &after, Some(6));
    assert_eq!(names.concat(), "abz");
    assert_eq!(asked[..4], [1, 2, 1, 2]);
}
