//! The collecting reader: walks one section of the value tree, key by key, and notes every fault on the way.
//!
//! What the file does not say comes from the embedded defaults, so every key must be in them. A reader continues after
//! a fault; `None` from a method means that the fault is noted, or that an optional key is absent.
//! Used by the readers of the sections; knows nothing of what the keys mean.

use super::Table;
use super::faults::{ConfigFaults, FaultPlace};
use super::overrides::place_of;
use super::unknown_key::{first_section, unknown_key};
use super::values::described;
use ::config::{Value, ValueKind};

/// One section of the file beside the same section of the defaults.
pub(super) struct Fields<'a> {
    path: String,
    given: Option<&'a Table>,
    defaults: Option<&'a Table>,
    asked: Vec<&'static str>,
    faults: &'a mut ConfigFaults,
}

impl<'a> Fields<'a> {
    pub(super) fn root(given: &'a Table, defaults: &'a Table, faults: &'a mut ConfigFaults) -> Self {
        Self { path: String::new(), given: Some(given), defaults: Some(defaults), asked: Vec::new(), faults }
    }

    /// A key that has a default, or that must be given.
    pub(super) fn scalar<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let Some(value) = self.value(key) else {
            self.fault(key, "is missing");
            return None;
        };
        self.parsed(key, value, parse)
    }

    /// A key that may be absent.
    pub(super) fn optional<T>(
        &mut self,
        key: &'static str,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        let value = self.value(key)?;
        self.parsed(key, value, parse)
    }

    /// A list of scalars, each parsed on its own. The file's list takes the place of the default's.
    pub(super) fn scalars<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&Value) -> Result<T, String>,
    ) -> Option<Vec<T>> {
        let mut parsed = Vec::new();
        for (index, value) in self.items(key)?.iter().enumerate() {
            let item = parse(value).map_err(|reason| self.fault(&format!("{key}[{index}]"), reason));
            parsed.push(item.ok());
        }
        parsed.into_iter().collect()
    }

    /// A list of sections. The first of the defaults' holds the defaults of each.
    pub(super) fn sections<T>(
        &mut self,
        key: &'static str,
        mut read: impl FnMut(Fields<'_>) -> Option<T>,
    ) -> Option<Vec<T>> {
        let template = first_section(self.default(key));
        let Some(given) = self.given(key) else {
            return Some(Vec::new());
        };
        let ValueKind::Array(items) = &given.kind else {
            self.fault(key, format!("must be a list, not {}", described(given)));
            return None;
        };
        let mut sections = Vec::new();
        for (index, item) in items.iter().enumerate() {
            let path = format!("{}[{index}]", self.path_of(key));
            if let ValueKind::Table(table) = &item.kind {
                sections.push(read(self.child(path, Some(table), template)));
            } else {
                let reason = format!("must be a map of keys, not {}", described(item));
                self.faults.push(FaultPlace::Key(path), reason);
                sections.push(None);
            }
        }
        sections.into_iter().collect()
    }

    /// A section that always applies: what it does not say is default.
    pub(super) fn section(&mut self, key: &'static str) -> Fields<'_> {
        let given = self.given_section(key);
        self.subsection(key, given)
    }

    /// A section that is off where the file does not have it.
    pub(super) fn optional_section(&mut self, key: &'static str) -> Option<Fields<'_>> {
        let Some(given) = self.given_section(key) else {
            self.faults.note_absent(self.path_of(key));
            return None;
        };
        Some(self.subsection(key, Some(given)))
    }

    /// The entries of a map whose keys are free, sorted by key.
    pub(super) fn entries(&mut self, key: &'static str) -> Vec<(&'a str, &'a Value)> {
        let mut entries: Vec<_> =
            self.given_section(key).into_iter().flatten().map(|(name, value)| (name.as_str(), value)).collect();
        entries.sort_unstable_by_key(|(name, _)| *name);
        entries
    }

    /// Whether the file or a variable has this section.
    pub(super) fn is_section_given(&self) -> bool {
        self.given.is_some()
    }

    /// Whether the file or a variable sets the key.
    pub(super) fn is_given(&self, key: &str) -> bool {
        self.given.and_then(|given| given.get(key)).is_some_and(|value| value.kind != ValueKind::Nil)
    }

    /// Whether one of our own environment variables sets the key.
    pub(super) fn is_overridden(&self, key: &str) -> bool {
        self.given.and_then(|given| given.get(key)).is_some_and(|value| value.origin().is_some())
    }

    /// Notes a fault of `key`, which may go on into a list or a map (`headers.x`), at the file or at the variable that
    /// set it.
    pub(super) fn fault(&mut self, key: &str, reason: impl Into<String>) {
        let variable = self.given.and_then(|given| given.get(key)).and_then(Value::origin);
        let place = match variable {
            Some(origin) => place_of(origin),
            None => FaultPlace::Key(self.path_of(key)),
        };
        self.faults.push(place, reason);
    }

    /// Notes a fault of the section itself.
    pub(super) fn fault_here(&mut self, reason: impl Into<String>) {
        self.faults.push(FaultPlace::Key(self.path.clone()), reason);
    }

    /// Notes something about a key that is no fault.
    pub(super) fn warn(&mut self, key: &str, reason: &str) {
        self.faults.warn(FaultPlace::Key(self.path_of(key)), reason);
    }

    /// Notes that the value of an environment variable of other programs is ignored, and why.
    pub(super) fn ignore(&mut self, variable: &str, reason: &str) {
        self.faults.ignore(variable, reason);
    }

    /// Notes a fault elsewhere: of an environment variable, or of an entry that has its own origin.
    pub(super) fn fault_at(&mut self, place: FaultPlace, reason: impl Into<String>) {
        self.faults.push(place, reason);
    }

    /// The full path of a key of this section.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// Ends the section: each key of the file that was not read is reported as unknown.
    pub(super) fn finish(self) {
        let Some(given) = self.given else { return };
        let mut unknown: Vec<_> = given.keys().filter(|key| !self.asked.contains(&key.as_str())).collect();
        unknown.sort_unstable();
        for key in unknown {
            let reason = unknown_key(key, self.asked.iter().copied());
            self.faults.push(FaultPlace::Key(self.path_of(key)), reason);
        }
    }

    fn subsection(&mut self, key: &'static str, given: Option<&'a Table>) -> Fields<'_> {
        let defaults = match self.default(key).map(|value| &value.kind) {
            Some(ValueKind::Table(table)) => Some(table),
            _ => None,
        };
        self.child(self.path_of(key), given, defaults)
    }

    fn child<'b>(&'b mut self, path: String, given: Option<&'b Table>, defaults: Option<&'b Table>) -> Fields<'b> {
        Fields { path, given, defaults, asked: Vec::new(), faults: self.faults }
    }

    fn given_section(&mut self, key: &'static str) -> Option<&'a Table> {
        let value = self.given(key)?;
        if let ValueKind::Table(table) = &value.kind {
            return Some(table);
        }
        self.fault(key, format!("must be a map of keys, not {}", described(value)));
        None
    }

    fn items(&mut self, key: &'static str) -> Option<&'a [Value]> {
        let value = self.value(key)?;
        if let ValueKind::Array(items) = &value.kind {
            return Some(items);
        }
        self.fault(key, format!("must be a list, not {}", described(value)));
        None
    }

    fn parsed<T>(
        &mut self,
        key: &'static str,
        value: &Value,
        parse: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Option<T> {
        parse(value).map_err(|reason| self.fault(key, reason)).ok()
    }

    fn value(&mut self, key: &'static str) -> Option<&'a Value> {
        let default = self.default(key).filter(|value| value.kind != ValueKind::Nil);
        self.given(key).or(default)
    }

    fn given(&mut self, key: &'static str) -> Option<&'a Value> {
        self.asked.push(key);
        self.given?.get(key).filter(|value| value.kind != ValueKind::Nil)
    }

    /// A key that the embedded file lacks is a mistake in this program: every load, and so every test, fails.
    fn default(&mut self, key: &'static str) -> Option<&'a Value> {
        let value = self.defaults.and_then(|defaults| defaults.get(key));
        if value.is_none() {
            let reason = "has no entry in config/default.yml, which is a mistake in this program";
            self.faults.push(FaultPlace::Key(self.path_of(key)), reason);
        }
        value
    }
}
