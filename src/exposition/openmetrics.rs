//! OpenMetrics 1.0: a counter's family has the name of its samples without their suffix; created times and exemplars
//! are shown.

use std::fmt::{self, Write};

use super::lines::{self, Scratch};
use super::model::{Exemplar, FamilyHead, Kind, Number, Sample};

/// The suffix of a counter's samples.
const TOTAL: &str = "_total";

/// Begins a family.
pub(super) fn head<W: Write>(out: &mut W, family: &FamilyHead<'_>) -> fmt::Result {
    let (name, _) = split(family);
    lines::head(out, name, family.kind.as_str(), |out| lines::escape(out, family.help, &['\\', '\n', '"']))
}

/// Writes a sample of it.
pub(super) fn sample<W: Write>(
    out: &mut W,
    family: &FamilyHead<'_>,
    sample: &Sample<'_>,
    scratch: &mut Scratch,
) -> fmt::Result {
    let (name, suffix) = split(family);
    lines::sample(out, name, suffix, sample, scratch, exemplar)?;
    match sample.created {
        Some(created) if family.kind != Kind::Gauge => {
            lines::line(out, name, "_created", scratch.labels(), Number::from(created))?;
            out.write_char('\n')
        }
        _ => Ok(()),
    }
}

/// Ends the exposition: without this line, a reader knows that it was cut off.
pub(super) fn end(out: &mut impl Write) -> fmt::Result {
    out.write_str("# EOF\n")
}

/// Returns the family's name, and the suffix of its samples' names.
fn split<'a>(family: &FamilyHead<'a>) -> (&'a str, &'static str) {
    let base = family.name.strip_suffix(TOTAL).filter(|_| family.kind == Kind::Counter);
    base.map_or((family.name, ""), |base| (base, TOTAL))
}

/// Writes an exemplar, within 128 characters of labels: ` # {trace_id="…",span_id="…"} 0.25 1700000000.5`.
fn exemplar<W: Write>(out: &mut W, exemplar: &Exemplar) -> fmt::Result {
    out.write_str(" # {trace_id=\"")?;
    hex(out, &exemplar.trace_id)?;
    out.write_str("\",span_id=\"")?;
    hex(out, &exemplar.span_id)?;
    out.write_str("\"} ")?;
    lines::number(out, Number::Float(exemplar.value))?;
    out.write_char(' ')?;
    lines::number(out, Number::from(exemplar.at))
}

fn hex(out: &mut impl Write, id: &[u8]) -> fmt::Result {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in id {
        for digit in [byte >> 4, byte & 0xF] {
            out.write_char(char::from(DIGITS[usize::from(digit)]))?;
        }
    }
    Ok(())
}
