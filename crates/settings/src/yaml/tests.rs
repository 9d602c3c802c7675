//! Texts that are refused before they cost anything, and where keys are.

use std::time::{Duration, Instant};

use super::*;

fn flaw(text: &str) -> String {
    parse(text.as_bytes()).expect_err("must be refused").to_string()
}

fn shortened(text: &str) -> String {
    text.chars().take(40).collect()
}

#[test]
fn what_cannot_be_parsed_is_refused_with_the_line() {
    insta::assert_snapshot!(flaw("a: 1\nb: [1\nc: 2"), @"line 3: not valid YAML: illegal placement of ':' indicator (column 2)");
    insta::assert_snapshot!(flaw("a: 1\nb:\n\t- x"), @"line 3: not valid YAML: tabs disallowed within this context (block indentation) (column 2)");
    insta::assert_snapshot!(flaw("poll: {}\nlog: {}\npoll: {}\n"), @"line 3: the key `poll` is given twice, first on line 1");
    insta::assert_snapshot!(flaw("a: 1\n---\nb: 2\n"), @"line 2: a second document begins: the file must hold one");
    insta::assert_snapshot!(flaw("a: 1\nb: -.inf\n"), @"line 2: `-.inf` is not a finite number");
    insta::assert_snapshot!(flaw("a: 1\n? [b]\n: 2"), @"line 2: a key must be text, not a map or a list");
    insta::assert_snapshot!(flaw("a: &x b\n*x : 2"), @"line 2: a key must be text, not an alias");
    insta::assert_snapshot!(flaw("a: &x\n  - *x"), @"line 2: the alias stands within the value that it stands for");
    insta::assert_snapshot!(flaw("# x\n- 1"), @"line 2: the file must be a map of keys, not a list");
    insta::assert_snapshot!(flaw("~"), @"line 1: the file must be a map of keys, not a single value");
    insta::assert_snapshot!(flaw("a: 1\n~: 2"), @"line 2: a key must be text, not null");
    insta::assert_snapshot!(flaw("a: *x"), @"line 1: not valid YAML: while parsing node, found unknown anchor (column 4)");
    insta::assert_snapshot!(parse(b"a: 1\nb: \xff").expect_err("no UTF-8"), @"line 2: is not valid UTF-8");
    assert_eq!(flaw(&" ".repeat(MAX_BYTES + 1)), "larger than 4 MiB");
}

#[test]
fn a_merge_key_is_named_first_and_alone() {
    let text = "poll: &p {colour: 1}\nlog:\n  <<: *p\n  x: 1\n  x: 2\n";
    insta::assert_snapshot!(flaw(text), @"line 3: merge keys (`<<`) are not supported: write the keys out");
    insta::assert_snapshot!(flaw("{<<: [{a: 1}]}"), @"line 1: merge keys (`<<`) are not supported: write the keys out");
    assert!(parse(b"a: <<\n\"<<\": 1\n").is_ok(), "as a value, or in quotes, it is text");
}

#[test]
fn an_empty_document_is_an_empty_map_and_keys_keep_their_case() {
    assert!(parse(b"").expect("empty").root.is_empty());
    assert!(parse(b"# only a comment\n").expect("comment").root.is_empty());
    let document = parse("\u{feff}Poll: {MIN_interval: 1s}\na.b: 1".as_bytes()).expect("a map");
    let mut keys: Vec<_> = document.root.keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["Poll", "a.b"]);
}

/// `levels` anchors, each a list of `width` aliases of the one before.
fn bomb(levels: usize, width: usize) -> String {
    let mut text = "x0: &x0 [lol]\n".to_owned();
    for level in 1..levels {
        let aliases = vec![format!("*x{}", level - 1); width].join(",");
        text.push_str(&format!("x{level}: &x{level} [{aliases}]\n"));
    }
    text
}

/// Levels nested by aliases: each anchor holds the one before, `step` levels deeper.
fn ladder(levels: usize, step: usize) -> String {
    let mut text = "x0: &x0 [a]\n".to_owned();
    for level in 1..levels {
        let (open, close) = ("[".repeat(step), "]".repeat(step));
        text.push_str(&format!("x{level}: &x{level} {open}*x{}{close}\n", level - 1));
    }
    text
}

/// Each of these costs gigabytes, or the stack, where it is built.
#[test]
fn what_aliases_expand_to_is_bounded_before_it_is_built() {
    let many = "more than 200000 values, counting what aliases stand for";
    let bombs = [
        (bomb(9, 9), many),
        (bomb(40, 2), many),
        (bomb(40, 2).replace('[', "{k: [").replace(']', "]}"), many),
        (format!("a: &a {}\nb: [{}]", "x".repeat(100_000), "*a,".repeat(1000)), "more than 8 MiB of text"),
        // An anchor costs a copy even where no alias uses it.
        (format!("a: {}{}{}", "&x [".repeat(60), "y".repeat(1 << 20), "]".repeat(60)), "more than 8 MiB of text"),
        (ladder(5_000, 30), "nested more than 64 levels deep"),
        (format!("a: [{}]", "1,".repeat(300_000)), many),
    ];
    for (text, expected) in bombs {
        let reason = flaw(&text);
        assert!(reason.starts_with("line ") && reason.contains(expected), "{}: {reason}", shortened(&text));
    }
    assert!(bomb(9, 9).len() < 600);
    let shared = format!("p: &p {{a: 1, b: [x, y]}}\nall: [{}]", "*p, ".repeat(1000));
    assert!(parse(shared.as_bytes()).is_ok(), "aliases as people use them");
}

#[test]
fn nesting_is_bounded_in_every_style() {
    let indented: String = (0..64).map(|column| format!("{}k:\n", " ".repeat(column))).collect();
    assert!(parse(format!("{indented}{}x: 1\n", " ".repeat(64)).as_bytes()).is_err());
    let indented: String = (0..63).map(|column| format!("{}k:\n", " ".repeat(column))).collect();
    assert!(parse(format!("{indented}{}x: 1\n", " ".repeat(63)).as_bytes()).is_ok());
    for text in ["[".repeat(70), "{a: ".repeat(70), "- ".repeat(70), "? ".repeat(70), "a: [".repeat(70)] {
        assert!(parse(text.as_bytes()).is_err(), "{}", shortened(&text));
    }
}

/// Whatever a file holds, it is read or refused in the time that its size needs.
#[test]
fn no_shape_of_a_large_file_takes_long() {
    let parts = [
        "[",
        "{",
        "- ",
        "? ",
        "&a ",
        "!t ",
        "a: &b\n",
        "a",
        "\"",
        "'",
        "# x\n",
        "%TAG ! !\n",
        "*a,",
        "|\n",
        " ",
        "---\n",
        ": ",
    ];
    for part in parts.into_iter().chain(["[a,", "a: b\n", "- - a\n", "\"a\": ", "x\n\n", ">\n  y\n", "{a: b}, "]) {
        for begin in ["", "a: [", "a:\n  "] {
            let text = format!("{begin}{}", part.repeat(MAX_BYTES / 8 / part.len()));
            let started = Instant::now();
            let _ = parse(text.as_bytes());
            assert!(started.elapsed() < Duration::from_secs(20), "{begin}{part}: {:?}", started.elapsed());
        }
    }
}

#[test]
fn a_key_is_found_by_its_path() {
    let text = "poll:\n  min_interval: 1s\nenvironments:\n- name: a\n  webhooks:\n    - {agent_id: x,\n       name: y}\n    - &w\n      agent_id: z\n- name: b\n  webhooks: [*w]\na.b: 1\nlist[0]: 2\n";
    let outline = parse(text.as_bytes()).expect("good").outline;
    for (path, line) in [
        ("poll", Some(1)),
        ("poll.min_interval", Some(2)),
        ("poll.max_interval", Some(1)),
        ("environments", Some(3)),
        ("environments[0]", Some(4)),
        ("environments[0].name", Some(4)),
        ("environments[0].webhooks", Some(5)),
        ("environments[0].webhooks[0]", Some(6)),
        ("environments[0].webhooks[0].name", Some(7)),
        ("environments[0].webhooks[1].agent_id", Some(9)),
        ("environments[1].name", Some(10)),
        ("environments[1].base_url", Some(10)),
        ("environments[1].webhooks[0].agent_id", Some(9)),
        ("environments[7].name", Some(3)),
        ("a.b", Some(12)),
        ("list[0]", Some(13)),
        ("log.level", None),
        ("", None),
    ] {
        assert_eq!(outline.line_of(path), line, "{path}");
    }
}
