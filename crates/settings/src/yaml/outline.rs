//! Which line of a text a key is on.

use std::collections::HashMap;
use std::fmt;

/// The lines of a document's keys and items. Its debug output is empty, because a key may be a secret that was pasted.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Outline {
    nodes: Vec<Node>,
}

/// A node, by its index.
pub(super) type NodeId = usize;

#[derive(Clone, PartialEq, Eq)]
struct Node {
    line: usize,
    children: Children,
}

#[derive(Clone, PartialEq, Eq)]
enum Children {
    None,
    /// By key; with the line of the key, because a value that is an alias is elsewhere.
    Map(HashMap<String, (usize, NodeId)>),
    List(Vec<NodeId>),
}

impl fmt::Debug for Outline {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Outline").finish_non_exhaustive()
    }
}

impl Outline {
    /// The line, from 1, of the key at `path`, such as `environments[1].webhooks[0].name`; of the nearest enclosing
    /// section if the text does not have it. `None` if the text has nothing of the path.
    pub fn line_of(&self, path: &str) -> Option<usize> {
        let (mut rest, mut id, mut found) = (path, 0, None);
        // The root itself does not count: its line says nothing about a missing key.
        while let Some((line, child, after)) = self.step(id, rest) {
            (found, id, rest) = (Some(line), child, after);
        }
        found
    }

    /// The first node of `path` below the node `id`, its line, and the rest of the path.
    fn step<'p>(&self, id: NodeId, path: &'p str) -> Option<(usize, NodeId, &'p str)> {
        match &self.nodes.get(id)?.children {
            Children::None => None,
            Children::Map(children) => {
                let path = path.strip_prefix('.').unwrap_or(path);
                // Keys may contain dots and brackets: take the longest that fits.
                let ends = path.char_indices().map(|(at, _)| at).filter(|at| path[*at..].starts_with(['.', '[']));
                let ends = std::iter::once(path.len()).chain(ends.collect::<Vec<_>>().into_iter().rev());
                ends.filter_map(|end| children.get(&path[..end]).map(|(line, id)| (*line, *id, &path[end..]))).next()
            }
            Children::List(items) => {
                let (index, rest) = path.strip_prefix('[')?.split_once(']')?;
                let id = *items.get(index.parse::<usize>().ok()?)?;
                Some((self.nodes.get(id)?.line, id, rest))
            }
        }
    }

    pub(super) fn add_scalar(&mut self, line: usize) -> NodeId {
        self.add(line, Children::None)
    }

    pub(super) fn add_map(&mut self, line: usize) -> NodeId {
        self.add(line, Children::Map(HashMap::new()))
    }

    pub(super) fn add_list(&mut self, line: usize) -> NodeId {
        self.add(line, Children::List(Vec::new()))
    }

    fn add(&mut self, line: usize, children: Children) -> NodeId {
        self.nodes.push(Node { line, children });
        self.nodes.len() - 1
    }

    /// Appends `child` to the list `parent`.
    pub(super) fn push(&mut self, parent: NodeId, child: NodeId) {
        if let Some(Node { children: Children::List(items), .. }) = self.nodes.get_mut(parent) {
            items.push(child);
        }
    }

    /// The line of the entry `key` of the map `parent`.
    pub(super) fn line_of_entry(&self, parent: NodeId, key: &str) -> Option<usize> {
        match &self.nodes.get(parent)?.children {
            Children::Map(children) => children.get(key).map(|(line, _)| *line),
            _ => None,
        }
    }

    /// Adds `child` to the map `parent`, under a key on `line`.
    pub(super) fn insert(&mut self, parent: NodeId, key: String, line: usize, child: NodeId) {
        if let Some(Node { children: Children::Map(children), .. }) = self.nodes.get_mut(parent) {
            children.insert(key, (line, child));
        }
    }
}
