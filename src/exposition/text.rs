//! Prometheus' text format 0.0.4: no created times, no exemplars.

use std::fmt::{self, Write};

use super::lines::{self, Scratch};
use super::model::{FamilyHead, Sample};

/// Begins a family.
pub(super) fn head<W: Write>(out: &mut W, family: &FamilyHead<'_>) -> fmt::Result {
    lines::head(out, family.name, family.kind.as_str(), |out| lines::escape(out, family.help, &['\\', '\n']))
}

/// Writes a sample of it.
pub(super) fn sample<W: Write>(
    out: &mut W,
    family: &FamilyHead<'_>,
    sample: &Sample<'_>,
    scratch: &mut Scratch,
) -> fmt::Result {
    lines::sample(out, family.name, "", sample, scratch, |_, _| Ok(()))
}
