//! Weighs a text by the parser's events, one at a time, before anything is built from it, and records the lines of its
//! keys.
//!
//! Never recurses, and keeps nothing that grows faster than the text. Rejects what building the tree would reject too,
//! so that the message can name the line.

use std::collections::HashMap;

use yaml_rust2::Event;
use yaml_rust2::parser::Parser;
use yaml_rust2::scanner::{Marker, ScanError, TScalarStyle};

use super::Flaw;
use super::outline::{NodeId, Outline};

/// The nesting of maps and lists, with aliases resolved. Building the tree recurses once for each level; no file of
/// ours has more than six.
const MAX_DEPTH: usize = 64;
/// Values, with aliases resolved: twice as many as ten thousand webhooks in a file, at about 300 bytes of memory each.
const MAX_VALUES: usize = 200_000;
/// Bytes of all scalars, with aliases resolved.
const MAX_SCALAR_BYTES: usize = 2 * super::MAX_BYTES;

const NO_NUMBERS: [&str; 12] =
    [".inf", ".Inf", ".INF", "+.inf", "+.Inf", "+.INF", "-.inf", "-.Inf", "-.INF", ".nan", ".NaN", ".NAN"];

/// The outline of `text`.
///
/// # Errors
/// The first flaw.
pub(super) fn scan(text: &str) -> Result<Outline, Flaw> {
    let mut parser = Parser::new_from_str(text);
    let mut scan = Scan::default();
    loop {
        let (event, mark) = parser.next_token().map_err(|error| syntax(&error))?;
        if event == Event::StreamEnd {
            return Ok(scan.outline);
        }
        scan.take(event, mark)?;
    }
}

fn syntax(error: &ScanError) -> Flaw {
    let mark = error.marker();
    Flaw::at(mark.line(), format!("not valid YAML: {} (column {})", error.info(), mark.col() + 1))
}

#[derive(Default)]
struct Scan {
    outline: Outline,
    /// Maps and lists that have not ended, starting at the root.
    open: Vec<OpenNode>,
    /// The values of anchors that have ended.
    anchors: HashMap<usize, ClosedNode>,
    documents: usize,
    total: Weight,
}

struct OpenNode {
    node: NodeId,
    anchor: usize,
    content: Content,
    weight: Weight,
    /// The height of what is inside.
    height: usize,
}

enum Content {
    List,
    /// The key whose value comes next, and its line.
    Map(Option<(String, usize)>),
}

/// What a value costs, with aliases resolved.
#[derive(Clone, Copy, Default)]
struct Weight {
    values: usize,
    bytes: usize,
}

impl Weight {
    fn add(&mut self, other: Self) {
        self.values = self.values.saturating_add(other.values);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// A value that has ended.
#[derive(Clone, Copy)]
struct ClosedNode {
    node: NodeId,
    weight: Weight,
    /// Levels of maps and lists: 0 for a scalar.
    height: usize,
}

impl Scan {
    fn take(&mut self, event: Event, mark: Marker) -> Result<(), Flaw> {
        let line = mark.line();
        match event {
            Event::DocumentStart => self.start_document(line),
            Event::MappingStart(anchor, _) => {
                let node = self.outline.add_map(line);
                self.start(node, anchor, Content::Map(None), line)
            }
            Event::SequenceStart(anchor, _) => {
                self.refuse_root("a list", line)?;
                let node = self.outline.add_list(line);
                self.start(node, anchor, Content::List, line)
            }
            Event::MappingEnd | Event::SequenceEnd => self.end(line),
            Event::Scalar(text, style, anchor, tag) => {
                if self.expects_key() {
                    return self.take_key(text, style, line);
                }
                if style == TScalarStyle::Plain && tag.is_none() && NO_NUMBERS.contains(&text.as_str()) {
                    return Err(Flaw::at(line, format!("`{text}` is not a finite number")));
                }
                let weight = Weight { values: 1, bytes: text.len() };
                self.refuse_root("a single value", line)?;
                self.count(weight, line)?;
                let node = self.outline.add_scalar(line);
                self.complete(ClosedNode { node, weight, height: 0 }, anchor, line)
            }
            Event::Alias(anchor) => self.take_alias(anchor, line),
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
        }
    }

    fn start_document(&mut self, line: usize) -> Result<(), Flaw> {
        self.documents += 1;
        if self.documents > 1 {
            return Err(Flaw::at(line, "a second document begins: the file must hold one"));
        }
        Ok(())
    }

    fn refuse_root(&self, what: &str, line: usize) -> Result<(), Flaw> {
        if self.open.is_empty() {
            return Err(Flaw::at(line, format!("the file must be a map of keys, not {what}")));
        }
        Ok(())
    }

    fn expects_key(&self) -> bool {
        matches!(self.open.last(), Some(OpenNode { content: Content::Map(None), .. }))
    }

    fn take_key(&mut self, text: String, style: TScalarStyle, line: usize) -> Result<(), Flaw> {
        if text == "<<" && style == TScalarStyle::Plain {
            return Err(Flaw::at(line, "merge keys (`<<`) are not supported: write the keys out"));
        }
        if style == TScalarStyle::Plain && matches!(text.as_str(), "" | "~" | "null") {
            return Err(Flaw::at(line, "a key must be text, not null"));
        }
        self.count(Weight { values: 1, bytes: text.len() }, line)?;
        let Some(open) = self.open.last_mut() else { return Ok(()) };
        if let Some(first) = self.outline.line_of_entry(open.node, &text) {
            return Err(Flaw::at(line, format!("the key `{text}` is given twice, first on line {first}")));
        }
        open.content = Content::Map(Some((text, line)));
        Ok(())
    }

    fn take_alias(&mut self, anchor: usize, line: usize) -> Result<(), Flaw> {
        if self.expects_key() {
            return Err(Flaw::at(line, "a key must be text, not an alias"));
        }
        // The parser itself rejects an alias without an anchor.
        let Some(target) = self.anchors.get(&anchor).copied() else {
            return Err(Flaw::at(line, "the alias stands within the value that it stands for"));
        };
        self.check_depth(self.open.len() + target.height, line)?;
        self.count(target.weight, line)?;
        self.complete(target, 0, line)
    }

    fn start(&mut self, node: NodeId, anchor: usize, content: Content, line: usize) -> Result<(), Flaw> {
        if self.expects_key() {
            return Err(Flaw::at(line, "a key must be text, not a map or a list"));
        }
        self.check_depth(self.open.len() + 1, line)?;
        let weight = Weight { values: 1, bytes: 0 };
        self.count(weight, line)?;
        self.open.push(OpenNode { node, anchor, content, weight, height: 0 });
        Ok(())
    }

    fn end(&mut self, line: usize) -> Result<(), Flaw> {
        let Some(OpenNode { node, anchor, weight, height, .. }) = self.open.pop() else { return Ok(()) };
        self.complete(ClosedNode { node, weight, height: height + 1 }, anchor, line)
    }

    /// Records the value of an anchor, and adds the value to its parent.
    fn complete(&mut self, value: ClosedNode, anchor: usize, line: usize) -> Result<(), Flaw> {
        if anchor > 0 {
            // The parser keeps a copy for each anchor.
            self.count(value.weight, line)?;
            self.anchors.insert(anchor, value);
        }
        let Some(parent) = self.open.last_mut() else { return Ok(()) };
        parent.weight.add(value.weight);
        parent.height = parent.height.max(value.height);
        match &mut parent.content {
            Content::List => self.outline.push(parent.node, value.node),
            Content::Map(key) => {
                if let Some((key, line)) = key.take() {
                    parent.weight.add(Weight { values: 1, bytes: key.len() });
                    self.outline.insert(parent.node, key, line, value.node);
                }
            }
        }
        Ok(())
    }

    fn check_depth(&self, depth: usize, line: usize) -> Result<(), Flaw> {
        if depth > MAX_DEPTH {
            return Err(Flaw::at(line, format!("nested more than {MAX_DEPTH} levels deep")));
        }
        Ok(())
    }

    /// Adds to the cost of the whole file.
    fn count(&mut self, weight: Weight, line: usize) -> Result<(), Flaw> {
        self.total.add(weight);
        if self.total.values > MAX_VALUES {
            return Err(Flaw::at(line, format!("more than {MAX_VALUES} values, counting what aliases stand for")));
        }
        if self.total.bytes > MAX_SCALAR_BYTES {
            let mib = MAX_SCALAR_BYTES >> 20;
            return Err(Flaw::at(line, format!("more than {mib} MiB of text, counting what aliases stand for")));
        }
        Ok(())
    }
}
