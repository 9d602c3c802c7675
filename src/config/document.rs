//! From the bytes of a file to a tree of values, by the `config` crate.
//!
//! Says nothing about keys or their meaning; called by `load` for the file and for the embedded defaults.

use ::config::{ConfigError, File, FileFormat, Source, Value};
use std::io::Read;
use std::path::Path;

/// A map of the tree: keys as they are written, in no order.
pub(super) type Table = ::config::Map<String, Value>;

/// Far more than ten thousand webhooks need; the parser builds the whole tree in memory.
const MAX_BYTES: u64 = 4 << 20;

/// The parser recurses once for each level, and a level needs at least one column.
const MAX_INDENT: usize = 200;

/// Reads the file's text.
///
/// # Errors
/// One sentence without the file's name.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, String> {
    let file = std::fs::File::open(path).map_err(|error| format!("failed to open the file: {error}"))?;
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| format!("failed to read the file: {error}"))?;
    Ok(bytes)
}

/// Parses YAML whose root is a map. An empty document is an empty map.
///
/// # Errors
/// One sentence with the line, without the file's name.
pub(super) fn parse(bytes: &[u8]) -> Result<Table, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("larger than {} MiB", MAX_BYTES >> 20));
    }
    let text = std::str::from_utf8(bytes).map_err(|error| not_utf8(bytes, error.valid_up_to()))?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    refuse_deep_nesting(text)?;
    File::from_str(text, FileFormat::Yaml).collect().map_err(|error| explain(&error))
}

fn not_utf8(bytes: &[u8], offset: usize) -> String {
    let line = bytes.iter().take(offset).filter(|byte| **byte == b'\n').count() + 1;
    format!("line {line} is not valid UTF-8")
}

fn refuse_deep_nesting(text: &str) -> Result<(), String> {
    let indent = |line: &str| line.find(|c: char| !" \t-?:".contains(c)).unwrap_or(line.len());
    match text.lines().position(|line| indent(line) > MAX_INDENT) {
        Some(at) => Err(format!("line {} is indented by more than {MAX_INDENT} columns", at + 1)),
        None => Ok(()),
    }
}

fn explain(error: &ConfigError) -> String {
    let ConfigError::FileParse { cause, .. } = error else {
        return error.to_string();
    };
    // The crate puts a boxed error into another box.
    let root = cause.downcast_ref::<Box<ConfigError>>().map(Box::as_ref);
    if let Some(ConfigError::Type { unexpected, .. }) = root {
        return format!("the file must be a map of sections, not {}", kind(unexpected));
    }
    let text = cause.to_string();
    match duplicate_key(&text) {
        Some((key, place)) => format!("not valid YAML: the key `{key}` is given twice {place}"),
        None => format!("not valid YAML: {text}"),
    }
}

fn kind(unexpected: &impl std::fmt::Display) -> String {
    let text = unexpected.to_string();
    match text.as_str() {
        "unit value" => "null".to_owned(),
        "sequence" => "a list".to_owned(),
        _ => format!("the {text}"),
    }
}

/// The parser prints a repeated key in Rust's debug notation: `String("poll"): duplicated key in mapping at …`.
fn duplicate_key(text: &str) -> Option<(&str, &str)> {
    let (key, place) = text.split_once(": duplicated key in mapping ")?;
    let key = key.split_once('(')?.1.strip_suffix(')')?;
    Some((key.trim_matches('"'), place))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(text: &str) -> String {
        parse(text.as_bytes()).expect_err("must be refused")
    }

    #[test]
    fn what_cannot_be_parsed_is_refused_with_the_line() {
        insta::assert_snapshot!(fault("- 1"), @"the file must be a map of sections, not a list");
        insta::assert_snapshot!(fault("~"), @"the file must be a map of sections, not null");
        insta::assert_snapshot!(fault("just text"), @r#"the file must be a map of sections, not the string "just text""#);
        insta::assert_snapshot!(fault("a: 1\nb: [1\nc: 2"), @"not valid YAML: illegal placement of ':' indicator at byte 12 line 3 column 2");
        insta::assert_snapshot!(fault("a: 1\nb:\n\t- x"), @"not valid YAML: tabs disallowed within this context (block indentation) at byte 9 line 3 column 2");
        insta::assert_snapshot!(fault("poll: {}\nlog: {}\npoll: {}\n"), @"not valid YAML: the key `poll` is given twice at byte 24 line 3 column 8");
        insta::assert_snapshot!(fault("a: 1\n---\nb: 2\n"), @"not valid YAML: Got 2 YAML documents, expected 1");
        insta::assert_snapshot!(fault("a: .inf\n"), @"not valid YAML: Parsing .inf as floating point number failed");
        insta::assert_snapshot!(fault(&format!("a: 1\n{}x", "- ".repeat(150))), @"line 2 is indented by more than 200 columns");
        insta::assert_snapshot!(fault(&"[".repeat(300)), @"not valid YAML: recursion limit exceeded at byte 255 line 1 column 256");
        insta::assert_snapshot!(parse(b"a: 1\nb: \xff").expect_err("no UTF-8"), @"line 2 is not valid UTF-8");
    }

    #[test]
    fn an_empty_document_is_an_empty_map_and_keys_keep_their_case() {
        assert_eq!(parse(b"").expect("empty"), Table::new());
        assert_eq!(parse(b"# only a comment\n").expect("comment"), Table::new());
        let table = parse("\u{feff}Poll: {MIN_interval: 1s}\na.b: 1".as_bytes()).expect("a map");
        let mut keys: Vec<_> = table.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["Poll", "a.b"]);
    }

    /// The deepest document that gets through to the parser, on a test's small stack.
    #[test]
    fn what_is_nested_as_deeply_as_allowed_is_parsed() {
        let flow = format!("{}{}", "[".repeat(250), "]".repeat(250));
        let levels: String = (0..MAX_INDENT).map(|column| format!("{}k:\n", " ".repeat(column))).collect();
        assert!(parse(format!("{levels}{}x: {flow}\n", " ".repeat(MAX_INDENT)).as_bytes()).is_ok());
        let text = format!("{}a: {flow}\n", "- ".repeat(MAX_INDENT / 2));
        assert_eq!(parse(text.as_bytes()), Err("the file must be a map of sections, not a list".to_owned()));
    }
}
