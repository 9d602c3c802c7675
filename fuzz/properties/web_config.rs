//! What holds of every web file, whatever bytes it is made of.
//!
//! The fuzz target `web_config` and the tests of the corpora call `check`.

use talkover_exporter::server::web_config::WebConfig;

/// How every bcrypt hash begins.
const HASH_PREFIX: &str = "$2";
/// A word of fewer characters is no hash, and may be part of a message by chance.
const LEAST_HASH: usize = 12;

/// Reads a file of these bytes.
///
/// # Panics
/// Where something does not hold.
pub fn check(content: &[u8]) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("web.yml");
    std::fs::write(&path, content).unwrap();
    let read = WebConfig::load(&path).map(|web| web.is_tls());
    let again = WebConfig::load(&path).map(|web| web.is_tls());
    // Of several keys that are unknown any may be named.
    assert_eq!(read.as_ref().ok(), again.as_ref().ok(), "the same bytes mean the same");
    assert!(WebConfig::files(&path).contains(&path), "a file that is looked at again is the file itself");
    let Err(reasons) = read else { return };
    assert!(!reasons.is_empty(), "refused without a reason");
    let start = path.display().to_string();
    let text = String::from_utf8_lossy(content);
    let words = text.split(|c: char| c.is_whitespace() || "\"',{}[]".contains(c));
    let hashes: Vec<&str> = words.filter(|word| word.starts_with(HASH_PREFIX) && word.len() >= LEAST_HASH).collect();
    for reason in &reasons {
        assert!(reason.starts_with(&start), "{reason}");
        assert!(!reason.contains(char::is_control), "more than one line: {reason:?}");
        // What stands where a name belongs is shown; a hash alone never is.
        let shown = hashes.iter().find(|hash| reason.ends_with(**hash));
        assert!(shown.is_none(), "a hash is shown: {reason}");
    }
}
