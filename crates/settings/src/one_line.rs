//! Texts from outside in messages of one line.

/// `text` with control characters escaped: a key or a value with a line break must not forge a second message.
pub fn on_one_line(text: &str) -> String {
    let mut line = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() {
            line.extend(c.escape_default());
        } else {
            line.push(c);
        }
    }
    line
}
