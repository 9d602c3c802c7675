//! The dashboards, rules and provisioning files that the binary carries, as they stand in `dashboards/`.
//!
//! Nothing here is made or changed: what the command `dashboards` writes and what the daemon serves are the
//! repository's files, byte for byte. Used by `cli::dashboards` and `server::bundled`.

use std::borrow::Cow;

use rust_embed::Embed;

/// The directory `dashboards/`, without what only its tests need.
#[derive(Embed)]
#[folder = "dashboards/"]
#[include = "*.json"]
#[include = "rules/*.yml"]
#[include = "provisioning/*/*.yml"]
#[exclude = "rules/*/*"]
struct Files;

/// A bundled file.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path below `dashboards/`, with `/` between the parts: `overview.json`, `rules/slo.yml`.
    pub path: Cow<'static, str>,
    /// Its content.
    pub content: Cow<'static, [u8]>,
}

/// Every file, by path.
pub fn files() -> Vec<File> {
    let mut files: Vec<File> = Files::iter().filter_map(|path| file(&path)).collect();
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The file of that path.
pub fn file(path: &str) -> Option<File> {
    let embedded = Files::get(path)?;
    Some(File { path: Cow::Owned(path.to_owned()), content: embedded.data })
}
