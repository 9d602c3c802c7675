//! The ids of traces and spans: they depend on the log alone, so every reading of it produces the same ids, in whatever
//! order and after whatever crash.

use sha2::{Digest, Sha256};

use crate::delivery::{EntryId, Target};

/// The id of a trace (W3C Trace Context, section 3.2.2.3).
pub type TraceId = [u8; 16];
/// The id of a span (W3C Trace Context, section 3.2.2.4).
pub type SpanId = [u8; 8];

/// The trace of the delivery that the entry `opening` opened.
pub fn trace(target: &Target, opening: &EntryId) -> TraceId {
    digest([&target.environment, &target.webhook_id, &opening.to_string()])
}

/// The span of the attempt with the entry `id`.
pub fn attempt(target: &Target, id: &EntryId) -> SpanId {
    digest(["attempt", &target.environment, &id.to_string()])
}

/// The root span of the delivery that the entry `opening` opened.
pub fn root(target: &Target, opening: &EntryId) -> SpanId {
    digest(["delivery", &target.environment, &opening.to_string()])
}

/// The first bytes of the SHA-256 of `parts`, which are separated by NUL.
fn digest<const N: usize>(parts: [&str; 3]) -> [u8; N] {
    let digest = Sha256::digest(parts.join("\0"));
    let mut id = [0; N];
    id.copy_from_slice(&digest[..N]);
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::delivery::OwnerType;

    /// Expected values: `printf 'production\0w-1\0log-1' | sha256sum`, and so on.
    #[test]
    fn ids_are_digests_of_the_log() {
        let target = Target {
            environment: "production".into(),
            webhook_id: "w-1".into(),
            owner_type: OwnerType::Agent,
            owner_id: "a-1".into(),
            webhook_name: "orders".into(),
        };
        let id = EntryId::new("log-1");
        let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        assert_eq!(hex(&trace(&target, &id)), "a2c56f53ca770132add9573e6b5999b1");
        assert_eq!(hex(&attempt(&target, &id)), "420e678facb45985");
        assert_eq!(hex(&root(&target, &id)), "2250ba9e0cb0c9e2");
    }
}
