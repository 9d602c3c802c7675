//! What is kept of an entry's `error`: one short line without secrets.
//!
//! The text comes from whatever delivered the webhook, and may contain URLs with credentials, tokens in their query, or
//! a whole stack trace. Only the result of `cleaned` leaves this file; [`super`] calls it while an entry is parsed.

/// The longest text kept, in characters.
const MAX_CHARS: usize = 256;
/// What separates a URL's scheme from its host.
const AFTER_SCHEME: &str = "://";

/// The first line, with every URL in it reduced to scheme and host, and of that at most 256 characters.
pub(super) fn cleaned(text: &str) -> Box<str> {
    let mut rest = text.split(is_line_end).next().unwrap_or_default();
    let mut kept = String::new();
    while let Some(colon) = rest.find(AFTER_SCHEME) {
        let (before, url) = rest.split_at(colon + AFTER_SCHEME.len());
        let (url, after) = url.split_at(url.find(is_url_end).unwrap_or(url.len()));
        kept.push_str(before);
        kept.push_str(host(url));
        rest = after;
        if kept.len() > MAX_CHARS * char::MAX.len_utf8() {
            // The text is long enough now, whatever its characters are.
            rest = "";
        }
    }
    kept.push_str(rest);
    kept.chars().take(MAX_CHARS).collect()
}

/// The line ends of Unicode (Unicode Standard, section 5.8).
fn is_line_end(c: char) -> bool {
    matches!(c, '\n' | '\r' | '\u{b}' | '\u{c}' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn is_url_end(c: char) -> bool {
    c.is_whitespace() || matches!(c, '"' | '\'' | '`')
}

/// The host in what follows a URL's scheme (RFC 3986, section 3.2): without user, port, path, query and fragment. Empty
/// if the port is not a port: it may be part of a password.
fn host(url: &str) -> &str {
    let authority = url.split(['/', '\\', '?', '#']).next().unwrap_or_default();
    let address = authority.rsplit('@').next().unwrap_or_default();
    // The colons of an IPv6 address are in brackets.
    let (host, port) = match address.rfind(':').filter(|colon| !address[*colon..].contains(']')) {
        Some(colon) => (&address[..colon], &address[colon + 1..]),
        None => (address, ""),
    };
    if port.bytes().all(|byte| byte.is_ascii_digit()) { host } else { "" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_cut_to_scheme_and_host() {
        for (text, expected) in [
            ("Internal Server Error", "Internal Server Error"),
            ("", ""),
            ("POST https://api.example.com/hook?token=s3cret failed", "POST https://api.example.com failed"),
            ("https://user:pa55@example.com:8443/x#y", "https://example.com"),
            ("https://us@er:pa@55@example.com/", "https://example.com"),
            ("https://example.com:8443", "https://example.com"),
            ("https://example.com?token=s3cret", "https://example.com"),
            ("https://example.com#s3cret", "https://example.com"),
            (r"https://example.com\s3cret@else.org/", "https://example.com"),
            ("http://[::1]:9000/a and http://[2001:db8::1]/b", "http://[::1] and http://[2001:db8::1]"),
            (
                "refused: \"http://a/s3cret\", 'http://b/s3cret', `http://c/s3cret`!",
                "refused: \"http://a\", 'http://b', `http://c`!",
            ),
            ("http://a/s3cret\thttp://b/s3cret\u{a0}http://c/s3cret", "http://a\thttp://b\u{a0}http://c"),
            ("http://a/?next=http://b/s3cret", "http://a"),
            ("amqps://q.example.com/vhost?password=s3cret", "amqps://q.example.com"),
            ("://u:s3cret@host/x", "://host"),
            ("http://user:s3cret/x@host/", "http://"),
            ("no URL: a:b //c d:/e", "no URL: a:b //c d:/e"),
        ] {
            assert_eq!(&*cleaned(text), expected, "{text}");
        }
    }

    #[test]
    fn only_the_first_line_is_kept() {
        for end in ["\n", "\r\n", "\r", "\u{b}", "\u{c}", "\u{85}", "\u{2028}", "\u{2029}"] {
            assert_eq!(&*cleaned(&format!("timed out{end}at http://a/s3cret")), "timed out", "{end:?}");
        }
        assert_eq!(&*cleaned("\nsecond"), "");
    }

    #[test]
    fn at_most_256_characters_are_kept_after_urls_were_cut() {
        assert_eq!(cleaned(&"é".repeat(300)).chars().count(), 256);
        let long_url = format!("http://a/{} then", "s3cret".repeat(100));
        assert_eq!(&*cleaned(&long_url), "http://a then");
        let many = "http://h/x ".repeat(200_000);
        assert_eq!(*cleaned(&many), "http://h ".repeat(40)[..256]);
    }
}
