//! What this binary was built from: for `--version`, and for the metric `talkover_exporter_build_info`.
//!
//! `build.rs` finds out; nothing here is known only at run time.

/// The crate's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The short hash of the git commit, or `unknown`.
pub const REVISION: &str = match option_env!("TALKOVER_EXPORTER_BUILD_REVISION") {
    Some(revision) => revision,
    None => "unknown",
};

/// The compiler's version, such as `1.95.0`, or `unknown`.
pub const RUSTVERSION: &str = match option_env!("TALKOVER_EXPORTER_BUILD_RUSTC") {
    Some(version) => version,
    None => "unknown",
};
