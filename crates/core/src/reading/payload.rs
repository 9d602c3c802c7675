//! Which attempts belong to one delivery: those with the same digest of event and payload. Payloads that are equal as
//! JSON have equal digests.
//!
//! The payload is read in place, never built into a value and never kept: only 16 bytes of a SHA-256 leave this file.
//! `wire` calls it for every entry.

use sha2::{Digest, Sha256};

use crate::delivery::GroupKey;

/// Values nested deeper are compared as the bytes they were written with.
const MAX_DEPTH: usize = 128;

/// Returns a digest of event and payload. `payload` is the text of a valid JSON value; `None` if the entry has none.
///
/// Two payloads are equal whatever the order of their keys, their white space and the escapes in their strings; numbers
/// are compared by their text, and the last of duplicate keys counts.
pub fn group_key(event: &str, payload: Option<&str>, scratch: &mut Vec<u8>) -> GroupKey {
    scratch.clear();
    scratch.extend_from_slice(&(event.len() as u64).to_le_bytes());
    scratch.extend_from_slice(event.as_bytes());
    if let Some(text) = payload {
        let mut canonical = Canonical { text: text.as_bytes(), position: 0, out: scratch };
        canonical.value(0);
    }
    let digest = Sha256::digest(&*scratch);
    let mut key = [0; 16];
    key.copy_from_slice(&digest[..16]);
    key
}

/// Rewrites valid JSON so that equal values become equal bytes, and different ones different bytes.
struct Canonical<'a> {
    text: &'a [u8],
    position: usize,
    out: &'a mut Vec<u8>,
}

impl Canonical<'_> {
    fn peek(&mut self) -> u8 {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.text.get(self.position) {
            self.position += 1;
        }
        self.text.get(self.position).copied().unwrap_or(0)
    }

    fn value(&mut self, depth: usize) {
        match self.peek() {
            b'{' | b'[' if depth >= MAX_DEPTH => self.raw(),
            b'{' => self.object(depth),
            b'[' => self.array(depth),
            b'"' => self.string(),
            _ => self.word(),
        }
    }

    /// Writes a number or a literal: its text, followed by a byte that none of them contains.
    fn word(&mut self) {
        let start = self.position;
        while let Some(b'+' | b'-' | b'.' | b'0'..=b'9' | b'a'..=b'z' | b'A'..=b'Z') = self.text.get(self.position) {
            self.position += 1;
        }
        // Text that is not JSON, against the caller's promise, may end inside an escape or a member: a strange digest
        // is better than a panic or an endless loop.
        self.out.extend_from_slice(self.text.get(start..self.position).unwrap_or_default());
        self.out.push(b';');
        if self.position == start {
            self.position += 1;
        }
    }

    fn array(&mut self, depth: usize) {
        self.out.push(b'[');
        self.position += 1;
        loop {
            match self.peek() {
                b']' | 0 => break,
                b',' => self.position += 1,
                _ => self.value(depth + 1),
            }
        }
        self.position += 1;
        self.out.push(b']');
    }

    fn object(&mut self, depth: usize) {
        self.out.push(b'{');
        self.position += 1;
        let start = self.out.len();
        let mut members: Vec<MemberSpan> = Vec::new();
        loop {
            match self.peek() {
                b'}' | 0 => break,
                b',' => self.position += 1,
                _ => {
                    let key_start = self.out.len();
                    self.value(depth + 1);
                    let key_end = self.out.len();
                    if self.peek() == b':' {
                        self.position += 1;
                    }
                    self.value(depth + 1);
                    members.push(MemberSpan { start: key_start, key_end, end: self.out.len() });
                }
            }
        }
        self.position += 1;
        self.sort_members(start, &mut members);
        self.out.push(b'}');
    }

    fn sort_members(&mut self, start: usize, members: &mut [MemberSpan]) {
        let written = &*self.out;
        let key = |member: &MemberSpan| &written[member.start..member.key_end];
        if members.windows(2).all(|pair| key(&pair[0]) < key(&pair[1])) {
            return;
        }
        // The sort is stable, so that among equal keys the last one written remains last.
        members.sort_by(|a, b| key(a).cmp(key(b)));
        let mut sorted = Vec::with_capacity(written.len() - start);
        for (position, member) in members.iter().enumerate() {
            let is_last = members.get(position + 1).is_none_or(|next| key(next) != key(member));
            if is_last {
                sorted.extend_from_slice(&written[member.start..member.end]);
            }
        }
        self.out.truncate(start);
        self.out.extend_from_slice(&sorted);
    }

    /// Writes a string's unescaped bytes after their number, so that nothing in them can be mistaken for structure.
    fn string(&mut self) {
        self.out.push(b'"');
        let length_at = self.out.len();
        self.out.extend_from_slice(&[0; 4]);
        self.position += 1;
        while let Some(&byte) = self.text.get(self.position) {
            self.position += 1;
            match byte {
                b'"' => break,
                b'\\' => self.escape(),
                _ => self.out.push(byte),
            }
        }
        let length = (self.out.len() - length_at - 4) as u32;
        self.out[length_at..length_at + 4].copy_from_slice(&length.to_le_bytes());
    }

    fn escape(&mut self) {
        let byte = self.text.get(self.position).copied().unwrap_or(b'\\');
        self.position += 1;
        match byte {
            b'b' => self.out.push(8),
            b'f' => self.out.push(12),
            b'n' => self.out.push(b'\n'),
            b'r' => self.out.push(b'\r'),
            b't' => self.out.push(b'\t'),
            b'u' => self.unicode_escape(),
            other => self.out.push(other),
        }
    }

    /// Reads `\uXXXX`, two of them if they are a surrogate pair. A lone surrogate is written as the three bytes of its
    /// number.
    fn unicode_escape(&mut self) {
        let unit = self.hex4();
        let is_high = (0xD800..0xDC00).contains(&unit);
        let mut point = u32::from(unit);
        if is_high && self.text.get(self.position..self.position + 2) == Some(b"\\u") {
            let back = self.position;
            self.position += 2;
            let low = self.hex4();
            if (0xDC00..0xE000).contains(&low) {
                point = 0x10000 + ((u32::from(unit) - 0xD800) << 10) + (u32::from(low) - 0xDC00);
            } else {
                self.position = back;
            }
        }
        match char::from_u32(point) {
            Some(character) => {
                let mut buffer = [0; 4];
                self.out.extend_from_slice(character.encode_utf8(&mut buffer).as_bytes());
            }
            None => self.out.extend_from_slice(&[
                0xE0 | (point >> 12) as u8,
                0x80 | (point >> 6 & 0x3F) as u8,
                0x80 | (point & 0x3F) as u8,
            ]),
        }
    }

    fn hex4(&mut self) -> u16 {
        let digits = self.text.get(self.position..self.position + 4).unwrap_or_default();
        self.position += digits.len();
        let text = std::str::from_utf8(digits).unwrap_or_default();
        u16::from_str_radix(text, 16).unwrap_or_default()
    }

    /// Writes an object or array that is nested too deeply to be normalised: its bytes as they are.
    fn raw(&mut self) {
        let start = self.position;
        let mut open = 0_usize;
        let mut in_string = false;
        while let Some(&byte) = self.text.get(self.position) {
            self.position += 1;
            match byte {
                b'\\' if in_string => self.position += 1,
                b'"' => in_string = !in_string,
                b'{' | b'[' if !in_string => open += 1,
                b'}' | b']' if !in_string => open -= 1,
                _ => {}
            }
            if open == 0 {
                break;
            }
        }
        let end = self.position.min(self.text.len());
        self.out.extend_from_slice(&self.text[start..end]);
    }
}

/// The position of an object's member in the output.
struct MemberSpan {
    start: usize,
    key_end: usize,
    end: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(payload: &str) -> GroupKey {
        group_key("e", Some(payload), &mut Vec::new())
    }

    #[test]
    fn equal_as_json_is_equal() {
        let nested = |depth: usize, inner: &str| format!("{}{inner}{}", "[".repeat(depth), "]".repeat(depth));
        let pairs = [
            (r#"{"a":1,"b":[2,{"c":null}]}"#.to_owned(), " { \"b\" : [ 2 , {\"c\":null} ] ,\n\"a\":1 } ".to_owned()),
            (r#"{"a":"é"}"#.to_owned(), r#"{"\u0061":"\u00e9"}"#.to_owned()),
            (r#""😀""#.to_owned(), r#""\ud83d\ude00""#.to_owned()),
            (r#"{"a":1,"a":2}"#.to_owned(), r#"{"a":2}"#.to_owned()),
            (r#"{"b":0,"a":1,"b":2,"a":3}"#.to_owned(), r#"{"a":3,"b":2}"#.to_owned()),
            (r#""a\/b""#.to_owned(), r#""a/b""#.to_owned()),
            (nested(127, r#"{"a":1,"b":2}"#), nested(127, r#"{"b":2, "a":1}"#)),
            (nested(1000, "1"), nested(1000, "1")),
        ];
        for (a, b) in pairs {
            assert_eq!(key(&a), key(&b), "{a} and {b}");
        }
    }

    #[test]
    fn different_as_json_is_different() {
        let deep = |inner: &str| format!("{}{inner}{}", "[".repeat(128), "]".repeat(128));
        let texts = [
            "1".to_owned(),
            "1.0".to_owned(),
            "1e0".to_owned(),
            r#""1""#.to_owned(),
            "null".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            "[[]]".to_owned(),
            "[1]".to_owned(),
            "[1,2]".to_owned(),
            "[12]".to_owned(),
            "[[1],2]".to_owned(),
            "[[1,2]]".to_owned(),
            r#"["a","b"]"#.to_owned(),
            r#"["ab",""]"#.to_owned(),
            r#"{"a":"b"}"#.to_owned(),
            r#"{"b":"a"}"#.to_owned(),
            r#""\ud800""#.to_owned(),
            r#""\ud800\u0061""#.to_owned(),
            r#""\n""#.to_owned(),
            r#""n""#.to_owned(),
            deep(r#"{"a":1,"b":2}"#),
            deep(r#"{"b":2,"a":1}"#),
            deep(r#"{"b":"]}\"","a":1}"#),
        ];
        for (position, a) in texts.iter().enumerate() {
            for b in &texts[position + 1..] {
                assert_ne!(key(a), key(b), "{a} and {b}");
            }
        }
    }

    #[test]
    fn an_absent_payload_is_no_null_and_the_event_counts() {
        let mut scratch = Vec::new();
        let absent = group_key("e", None, &mut scratch);
        assert_eq!(absent, group_key("e", None, &mut scratch));
        assert_ne!(absent, key("null"));
        assert_ne!(absent, group_key("f", None, &mut scratch));
    }

    proptest! {
        #[test]
        fn any_text_ends(text in prop_oneof![".{0,60}", r#"[\[\]{}",:\\u0-9a ]{0,40}"#]) {
            key(&text);
        }

        #[test]
        fn escaping_never_matters(text in any::<String>()) {
            let plain = serde_json::to_string(&text).unwrap();
            let escaped: String = text.encode_utf16().map(|unit| format!("\\u{unit:04x}")).collect();
            prop_assert_eq!(key(&plain), key(&format!("\"{escaped}\"")));
        }
    }
}
