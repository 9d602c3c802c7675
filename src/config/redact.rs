//! What may be printed of a text that comes from outside: no token.

/// How every TalkOver token begins, by the API's documentation.
const TOKEN_PREFIX: &str = "talq_";

/// `text` with everything that looks like a token cut to its prefix: people paste tokens where a name belongs.
pub(super) fn redacted(text: &str) -> String {
    let mut parts = text.split(TOKEN_PREFIX);
    let mut clean = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        clean.push_str(TOKEN_PREFIX);
        clean.push('…');
        let rest = part.trim_start_matches(|c: char| !c.is_whitespace() && !"`\"':,/".contains(c));
        clean.push_str(rest);
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_cut_wherever_it_stands() {
        assert_eq!(redacted("no token"), "no token");
        assert_eq!(redacted("`talq_abc|123=` is not set"), "`talq_…` is not set");
        assert_eq!(redacted("talq_a, talq_b and ./talq_c/x"), "talq_…, talq_… and ./talq_…/x");
    }
}
