//! Which of the discovered webhooks are wanted: `discovery.include` and `discovery.exclude`.

use wildmatch::WildMatch;

/// Globs to include and to exclude. `*` matches any text, also `/`, and `?` one character; every other character
/// matches itself, so a name with brackets needs no escapes.
#[derive(Clone, Debug)]
pub struct Filter {
    include: Vec<WildMatch>,
    exclude: Vec<WildMatch>,
}

impl Filter {
    /// A filter that admits what matches a glob of `include` and none of `exclude`.
    pub fn new(include: &[String], exclude: &[String]) -> Self {
        let compile = |globs: &[String]| globs.iter().map(|glob| WildMatch::new(glob)).collect();
        Self { include: compile(include), exclude: compile(exclude) }
    }

    /// Whether a webhook is wanted: a glob may match `owner name/webhook name`, the owner's id, or the webhook's.
    pub fn wants(&self, owner_name: &str, webhook_name: &str, owner_id: &str, webhook_id: &str) -> bool {
        let name = format!("{owner_name}/{webhook_name}");
        let texts = [name.as_str(), owner_id, webhook_id];
        let hits = |globs: &[WildMatch]| globs.iter().any(|glob| texts.iter().any(|text| glob.matches(text)));
        hits(&self.include) && !hits(&self.exclude)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_names_and_ids() {
        let wants = |include: &[&str], exclude: &[&str]| {
            let texts = |globs: &[&str]| globs.iter().map(ToString::to_string).collect::<Vec<_>>();
            Filter::new(&texts(include), &texts(exclude)).wants("Sales [EU]/North", "Orders", "a-1", "w-1")
        };
        for (include, exclude, expected) in [
            (&["*"][..], &[][..], true),
            (&["Sales*"], &[], true),
            (&["Sales [EU]/North/Orders"], &[], true),
            (&["*/Orders"], &[], true),
            (&["Sales*Orders"], &[], true),
            (&["Sales [EU]/N?rth/Orders"], &[], true),
            (&["sales*"], &[], false),
            (&["Orders"], &[], false),
            (&["x", "a-*"], &[], true),
            (&["w-1"], &[], true),
            (&["w-"], &[], false),
            (&["*"], &["*/Orders"], false),
            (&["*"], &["a-1"], false),
            (&["w-1"], &["w-1"], false),
            (&["*"], &["w-2", ""], true),
            (&[], &[], false),
        ] {
            assert_eq!(wants(include, exclude), expected, "{include:?} {exclude:?}");
        }
    }
}
