use super::*;

/// Sun, 06 Nov 1994 08:49:37 GMT, as in RFC 9110.
const THEN: Timestamp = Timestamp::from_seconds(784_111_777);
/// Its numbers are of the size that epochs have today.
const NOW: Timestamp = Timestamp::from_seconds(1_764_400_000);

#[test]
fn a_wait_is_read_in_every_form() {
    for (text, seconds) in [
        // Seconds.
        ("17", Some(17)),
        (" 17 ", Some(17)),
        ("\"17\"", Some(17)),
        ("+17", Some(17)),
        ("017", Some(17)),
        ("5.5", Some(6)),
        ("5.0", Some(5)),
        ("0.2", Some(1)),
        ("120;comment=1", Some(120)),
        ("1e2", Some(100)),
        // An hour at most.
        ("3600", Some(3600)),
        ("3601", Some(3600)),
        ("86400", Some(3600)),
        ("1000000000000000000000000000", Some(3600)),
        // Milliseconds, where as seconds it would be more than a day.
        ("120000", Some(120)),
        ("120001", Some(121)),
        ("99999999", Some(3600)),
        // Seconds, milli-, micro- and nanoseconds since the epoch.
        ("1764400030", Some(30)),
        ("1764400030.5", Some(31)),
        ("1764400030000", Some(30)),
        ("1764400029001", Some(30)),
        ("1764400030000000", Some(30)),
        ("1764400030000000000", Some(30)),
        ("1764486400", Some(3600)),
        // With a unit.
        ("5s", Some(5)),
        ("1500ms", Some(2)),
        ("6m0s", Some(360)),
        ("2 minutes", Some(120)),
        ("PT30S", Some(30)),
        // Dates.
        ("Sat, 29 Nov 2025 07:07:10 GMT", Some(30)),
        ("Mon, 29 Nov 2025 07:07:10 GMT", Some(30)),
        ("Saturday, 29-Nov-25 07:07:10 GMT", Some(30)),
        ("Sat Nov 29 07:07:10 2025", Some(30)),
        ("2025-11-29T07:07:10Z", Some(30)),
        ("Sat, 29 Nov 2025 08:07:10 +0100", Some(30)),
        ("Sun, 30 Nov 2025 07:07:10 GMT", Some(3600)),
        // The strictest of a list, whatever else is in it.
        ("3, 17", Some(17)),
        ("17, 3", Some(17)),
        ("soon, 3", Some(3)),
        ("Sat, 29 Nov 2025 07:07:10 GMT, Sat, 29 Nov 2025 07:07:20 GMT", Some(40)),
        ("3, Sat, 29 Nov 2025 07:07:10 GMT", Some(30)),
        // No answer to the question of when.
        ("0", None),
        ("0.0", None),
        ("-5", None),
        ("1764399999", None),
        ("Sat, 29 Nov 2025 07:06:40 GMT", None),
        ("Sat, 29 Nov 2025 07:06:00 GMT", None),
        ("soon", None),
        ("", None),
        (",", None),
        ("NaN", None),
        ("inf", None),
        ("1e999", None),
        ("-5s", None),
    ] {
        let expected = seconds.map(Duration::from_secs);
        assert_eq!(wait(&[text], &[], NOW), expected, "Retry-After: {text}");
        assert_eq!(wait(&[], &[text], NOW), expected, "X-RateLimit-Reset: {text}");
    }
}

#[test]
fn the_example_dates_of_the_rfc_are_one_moment() {
    for text in [
        "Sun, 06 Nov 1994 08:49:37 GMT",
        "Sunday, 06-Nov-94 08:49:37 GMT",
        "Sun Nov  6 08:49:37 1994",
        "1994-11-06T08:49:37Z",
    ] {
        assert_eq!(http_date(text), Some(THEN), "{text}");
    }
    assert_eq!(http_date("yesterday"), None);
}

#[test]
fn a_retry_after_of_no_use_hides_no_reset() {
    for (retry_after, reset, seconds) in [
        (&["3"][..], &["1764400010"][..], Some(3)),
        (&["soon"], &["1764400010"], Some(10)),
        (&["0"], &["10"], Some(10)),
        (&["-1"], &["10"], Some(10)),
        (&[""], &["10"], Some(10)),
        (&["Sat, 29 Nov 2025 07:00:00 GMT"], &["10"], Some(10)),
        (&["3", "17"], &["10"], Some(17)),
        (&["soon", "17"], &["10"], Some(17)),
        (&[], &["10", "1764400020000"], Some(20)),
        (&["soon"], &["later"], None),
        (&[], &[], None),
    ] {
        assert_eq!(wait(retry_after, reset, NOW), seconds.map(Duration::from_secs), "{retry_after:?} {reset:?}");
    }
}

#[test]
fn of_several_limits_the_strictest_counts() {
    for (lines, expected) in [
        (&["60"][..], Some(60)),
        (&["60.0"], Some(60)),
        (&["29.5"], Some(30)),
        (&["6, 6;w=60"], Some(6)),
        (&["6;w=60"], Some(6)),
        (&["100, 30"], Some(30)),
        (&["30, 100"], Some(30)),
        (&["100", "30"], Some(30)),
        (&["30", "100"], Some(30)),
        // Ten a second, or a thousand an hour: 17 a minute.
        (&["10;w=1, 1000;w=3600"], Some(17)),
        (&["100;w=60;comment=\"per key\", 2;w=1"], Some(100)),
        (&["100;w=0"], Some(100)),
        (&["100;w=soon"], Some(100)),
        // Without a limit, or of no use.
        (&["0"], None),
        (&["0, 30"], Some(30)),
        (&["-1"], None),
        (&["unlimited, 30"], Some(30)),
        (&["unlimited"], None),
        (&[""], None),
        (&[], None),
    ] {
        assert_eq!(limit(lines), expected, "{lines:?}");
    }
}

#[test]
fn of_several_remainders_the_smallest_counts() {
    for (lines, expected) in [
        (&["5"][..], Some(5)),
        (&["4.2"], Some(5)),
        (&["5, 3;w=60"], Some(3)),
        (&["5", "0"], Some(0)),
        (&["-3"], Some(0)),
        (&["many"], None),
        (&[], None),
    ] {
        assert_eq!(remaining(lines), expected, "{lines:?}");
    }
}
