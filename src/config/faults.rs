//! Everything that is wrong with a configuration, collected so that one run of `check` names it all.
//!
//! A message never holds a token: whatever looks like one is cut before it is stored. Built by the readers of the
//! sections, printed by `cli`.

use super::excerpt::SourceText;
use super::redact::redacted;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;
use talkover_settings::one_line::on_one_line;
use talkover_settings::yaml::Outline;

/// How many faults are kept; the others are only counted. One mistake in a template repeats itself in every webhook,
/// and a reload logs them all.
const MAX_KEPT: usize = 100;

/// Where a fault lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FaultPlace {
    /// The file as a whole.
    File,
    /// A key of the file, by its full path, e.g. `environments[1].webhooks[0].agent_id`.
    Key(String),
    /// An environment variable, by its name.
    Variable(String),
    /// An option of the command line, by its name.
    Option(String),
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFault {
    /// Where it lies.
    pub place: FaultPlace,
    /// The line of the file, from 1: the key's own, or that of the section that lacks it.
    pub line: Option<usize>,
    /// What is wrong and what would be right.
    pub reason: String,
    /// The lines of the file that it is about, numbered, without what may be secret.
    pub excerpt: Vec<String>,
}

/// All faults of one configuration. `Display` prints one line for each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigFaults {
    file: Box<str>,
    source: Box<FaultSource>,
    faults: Vec<ConfigFault>,
    /// How many more there are.
    omitted: usize,
    /// What is wrong and was ignored, or is no fault.
    warnings: Vec<ConfigFault>,
    /// Optional sections that the file does not have.
    absent: BTreeSet<String>,
}

/// What the file holds, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct FaultSource {
    text: SourceText,
    outline: Outline,
}

impl ConfigFault {
    fn new(place: FaultPlace, line: Option<usize>, reason: &str, excerpt: Vec<String>) -> Self {
        let place = match place {
            FaultPlace::File => FaultPlace::File,
            FaultPlace::Key(path) => FaultPlace::Key(redacted(&path)),
            FaultPlace::Variable(name) => FaultPlace::Variable(redacted(&name)),
            FaultPlace::Option(name) => FaultPlace::Option(name),
        };
        Self { place, line, reason: redacted(reason), excerpt }
    }
}

impl ConfigFaults {
    pub(super) fn new(file: &Path, text: SourceText, outline: Outline) -> Self {
        let file = file.display().to_string().into();
        let source = Box::new(FaultSource { text, outline });
        Self { file, source, faults: Vec::new(), omitted: 0, warnings: Vec::new(), absent: BTreeSet::new() }
    }

    /// Notes that the file does not have an optional section.
    pub(super) fn note_absent(&mut self, path: String) {
        self.absent.insert(path);
    }

    /// The optional sections that the file does not have, by their paths.
    pub(super) fn absent(&self) -> &BTreeSet<String> {
        &self.absent
    }

    pub(super) fn push(&mut self, place: FaultPlace, reason: impl Into<String>) {
        let line = match &place {
            FaultPlace::Key(path) => self.source.outline.line_of(path),
            FaultPlace::File | FaultPlace::Variable(_) | FaultPlace::Option(_) => None,
        };
        let excerpt = line.and_then(|line| self.source.text.line(line)).into_iter().collect();
        self.add(place, line, reason.into(), excerpt);
    }

    /// As `push`, for the file as a whole: the cause of a line that cannot be read may be the one before it.
    pub(super) fn push_flaw(&mut self, line: Option<usize>, reason: String) {
        let lines = line.into_iter().flat_map(|line| (1..=line).rev());
        let mut excerpt: Vec<String> = lines.filter_map(|line| self.source.text.line(line)).take(2).collect();
        excerpt.reverse();
        self.add(FaultPlace::File, line, reason, excerpt);
    }

    fn add(&mut self, place: FaultPlace, line: Option<usize>, reason: String, excerpt: Vec<String>) {
        if self.faults.len() < MAX_KEPT {
            self.faults.push(ConfigFault::new(place, line, &reason, excerpt));
        } else {
            self.omitted += 1;
        }
    }

    /// Notes that a variable's value is ignored, and why.
    pub(super) fn ignore(&mut self, variable: &str, reason: &str) {
        let place = FaultPlace::Variable(variable.to_owned());
        let warning = ConfigFault::new(place, None, &format!("{reason}; ignored"), Vec::new());
        // Several sections read the same variables.
        if !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    /// Notes something that is no fault, but should be known.
    pub(super) fn warn(&mut self, place: FaultPlace, reason: &str) {
        let line = match &place {
            FaultPlace::Key(path) => self.source.outline.line_of(path),
            FaultPlace::File | FaultPlace::Variable(_) | FaultPlace::Option(_) => None,
        };
        self.warnings.push(ConfigFault::new(place, line, reason, Vec::new()));
    }

    /// A line for each warning.
    pub(super) fn warnings(&self) -> Vec<String> {
        self.warnings.iter().map(|fault| self.line(fault)).collect()
    }

    /// Whether nothing is wrong.
    pub fn is_empty(&self) -> bool {
        self.faults.is_empty()
    }

    /// The faults in the order of the sections, the first hundred of them.
    pub fn iter(&self) -> impl Iterator<Item = &ConfigFault> {
        self.faults.iter()
    }

    /// One line for each fault: `FILE:LINE: key.path: reason` or `environment variable NAME: reason`.
    pub fn lines(&self) -> Vec<String> {
        let more = (self.omitted > 0).then(|| on_one_line(&format!("{}: {} more faults", self.file, self.omitted)));
        self.faults.iter().map(|fault| self.line(fault)).chain(more).collect()
    }

    /// As [`ConfigFaults::lines`], each followed by the lines of the file that it is about.
    pub fn messages(&self) -> Vec<String> {
        let excerpts = self.faults.iter().map(|fault| fault.excerpt.as_slice()).chain([&[][..]]);
        let messages = self.lines().into_iter().zip(excerpts);
        messages.map(|(line, excerpt)| [&[line][..], excerpt].concat().join("\n")).collect()
    }

    fn line(&self, fault: &ConfigFault) -> String {
        let file = match fault.line {
            Some(line) => format!("{}:{line}", self.file),
            None => self.file.to_string(),
        };
        let line = match &fault.place {
            FaultPlace::File => format!("{file}: {}", fault.reason),
            FaultPlace::Key(path) => format!("{file}: {path}: {}", fault.reason),
            FaultPlace::Variable(name) => format!("environment variable {name}: {}", fault.reason),
            FaultPlace::Option(name) => format!("{name}: {}", fault.reason),
        };
        on_one_line(&redacted(&line))
    }
}

impl fmt::Display for ConfigFaults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.lines().join("\n"))
    }
}

impl std::error::Error for ConfigFaults {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_more_than_a_hundred_faults_the_number_is_told() {
        let mut faults = ConfigFaults::new(Path::new("c.yml"), SourceText::default(), Outline::default());
        for index in 0..102 {
            faults.push(FaultPlace::Key(format!("list[{index}]")), "wrong");
        }
        let lines = faults.lines();
        assert_eq!(
            (lines.len(), lines[99].as_str(), lines[100].as_str()),
            (101, "c.yml: list[99]: wrong", "c.yml: 2 more faults")
        );
    }

    #[test]
    fn each_fault_takes_one_line() {
        let mut faults = ConfigFaults::new(Path::new("a\nb.yml"), SourceText::default(), Outline::default());
        faults.push(FaultPlace::File, "first");
        faults.push(FaultPlace::Key("poll.x\ty".to_owned()), "second\nhalf");
        faults.push(FaultPlace::Variable("NAME".to_owned()), "third");
        assert_eq!(
            faults.to_string(),
            "a\\nb.yml: first\na\\nb.yml: poll.x\\ty: second\\nhalf\nenvironment variable NAME: third"
        );
    }
}
