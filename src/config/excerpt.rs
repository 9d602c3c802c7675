//! The lines of a file that a fault is about, fit to be printed: without what may be secret.
//!
//! Secrets do not belong into a configuration, but the values of headers do, and people paste the rest. So whatever may
//! be one is masked, even where the line is then less of a help.

use super::redact::redacted;
use std::fmt;
use std::sync::Arc;
use talkover_settings::one_line::on_one_line;

/// Longer lines are cut: what is wrong is named in the message.
const MAX_CHARS: usize = 110;
/// What stands in the place of a secret.
const MASK: &str = "…";
/// Keys with one of these words hold a secret, unless they name a file or a variable that does.
const SECRET_WORDS: [&str; 9] =
    ["token", "secret", "password", "passwd", "authorization", "cookie", "credential", "api_key", "api-key"];
/// Words of this length or more, of letters and digits, may be keys to something. Ids of TalkOver are UUIDs.
const OPAQUE_CHARS: usize = 24;

/// The text of a file. Its debug output is empty.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct SourceText(Arc<str>);

impl fmt::Debug for SourceText {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SourceText").finish_non_exhaustive()
    }
}

impl SourceText {
    pub(super) fn new(content: &[u8]) -> Self {
        Self(String::from_utf8_lossy(content).into())
    }

    /// The line `number`, from 1, with its number. `None` if there is none, or nothing on it.
    pub(super) fn line(&self, number: usize) -> Option<String> {
        let index = number.checked_sub(1)?;
        let line = self.0.lines().nth(index).map(str::trim_end).filter(|line| !line.is_empty())?;
        let masked = if self.is_in_headers(index) { mask_value(line) } else { mask(line) };
        let shown = on_one_line(&masked.replace('\t', "  "));
        let cut = if shown.chars().count() > MAX_CHARS { MASK } else { "" };
        Some(format!("    {number:>4} | {}{cut}", shown.chars().take(MAX_CHARS).collect::<String>()))
    }

    /// Whether a line stands below a key `headers`, by its indent.
    fn is_in_headers(&self, index: usize) -> bool {
        let before: Vec<&str> = self.0.lines().take(index + 1).collect();
        let Some((line, before)) = before.split_last() else { return false };
        let mut depth = indent(line);
        for above in before.iter().rev().filter(|above| !above.trim().is_empty()) {
            if indent(above) < depth {
                depth = indent(above);
                if above.trim_start().trim_start_matches("- ").starts_with("headers:") {
                    return true;
                }
            }
        }
        false
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// A line without what stands behind its first colon.
fn mask_value(line: &str) -> String {
    match line.split_once(':') {
        Some((key, _)) => format!("{} {MASK}", mask(&format!("{key}:"))),
        None => MASK.to_owned(),
    }
}

fn mask(line: &str) -> String {
    let line = redacted(&mask_users(&mask_after_secret_keys(line)));
    let mut masked = String::new();
    let mut word = String::new();
    for c in line.chars().chain(['\n']) {
        if c.is_ascii_alphanumeric() || "+=_-".contains(c) {
            word.push(c);
            continue;
        }
        masked.push_str(if is_opaque(&word) { MASK } else { &word });
        word.clear();
        masked.push(c);
    }
    masked.trim_end_matches('\n').to_owned()
}

/// Cuts the line behind the first key that holds a secret, or that begins a map of headers.
fn mask_after_secret_keys(line: &str) -> String {
    for (at, _) in line.match_indices(':') {
        let key = line[..at].rsplit(|c: char| c.is_whitespace() || "{,[\"'".contains(c)).find(|part| !part.is_empty());
        let key = key.unwrap_or_default().to_lowercase();
        let names_a_place = key.ends_with("_file") || key.ends_with("_env");
        let is_secret = !names_a_place && SECRET_WORDS.iter().any(|word| key.contains(word));
        let rest = line[at + 1..].trim();
        if (is_secret || key == "headers") && !rest.is_empty() && rest != "{}" {
            return format!("{} {MASK}", &line[..=at]);
        }
    }
    line.to_owned()
}

/// Cuts users and passwords out of URLs.
pub(super) fn mask_users(text: &str) -> String {
    let mut parts = text.split("://");
    let mut masked = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        masked.push_str("://");
        let end = part.find(|c: char| c.is_whitespace() || "/?#".contains(c)).unwrap_or(part.len());
        match part[..end].rfind('@') {
            Some(at) => {
                masked.push_str(MASK);
                masked.push_str(&part[at..]);
            }
            None => masked.push_str(part),
        }
    }
    masked
}

/// Whether a word may be a key to something: long, of letters and digits, and no UUID.
fn is_opaque(word: &str) -> bool {
    let has = |is: fn(char) -> bool| word.chars().any(is);
    let is_uuid = word.len() == 36 && word.chars().all(|c| c.is_ascii_hexdigit() || c == '-');
    word.len() >= OPAQUE_CHARS && !is_uuid && has(|c| c.is_ascii_digit()) && has(|c| c.is_ascii_alphabetic())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_with_its_number() {
        let text = SourceText::new(b"poll:\n\tper_page: 0   \n\n");
        assert_eq!(text.line(2).as_deref(), Some("       2 |   per_page: 0"));
        assert_eq!((text.line(0), text.line(3), text.line(4)), (None, None, None));
        let long = SourceText::new(format!("a: {}", "word ".repeat(100)).as_bytes());
        assert!(long.line(1).is_some_and(|line| line.chars().count() < 130 && line.ends_with('…')));
    }

    #[test]
    fn whatever_may_be_secret_is_masked() {
        for (line, expected) in [
            ("    token: talq_1234", "    token: …"),
            ("    token_file: /run/secrets/token", "    token_file: /run/secrets/token"),
            ("    token_env: TALKOVER_TOKEN", "    token_env: TALKOVER_TOKEN"),
            ("    name: talq_1234", "    name: talq_…"),
            ("proxy: http://user:p@ss@proxy:3128/x", "proxy: http://…@proxy:3128/x"),
            ("proxy: \"http://user:p,s}]'s@proxy:3128\"", "proxy: \"http://…@proxy:3128\""),
            ("traces: {headers: {authorization: Bearer x}}", "traces: {headers: …"),
            ("  headers: {}", "  headers: {}"),
            ("  \"X-API-Key\": abc", "  \"X-API-Key\": …"),
            ("  name: 0123456789abcdefghijklmn", "  name: …"),
            (
                "  - {agent_id: 9fbef0b7-0000-4000-8000-123456789abc}",
                "  - {agent_id: 9fbef0b7-0000-4000-8000-123456789abc}",
            ),
            ("  min_interval: 5min", "  min_interval: 5min"),
        ] {
            assert_eq!(mask(line), expected);
        }
        let text =
            SourceText::new(b"traces:\n  headers:\n    x-scope: tenant 1\n\n    y: z\n  endpoint: e\nheaders: 1\n");
        assert_eq!(text.line(3).as_deref(), Some("       3 |     x-scope: …"));
        assert_eq!(text.line(5).as_deref(), Some("       5 |     y: …"));
        assert_eq!(text.line(6).as_deref(), Some("       6 |   endpoint: e"));
        assert!(!format!("{text:?}").contains("tenant"));
    }
}
