//! YAML and JSON text as a tree whose nodes have the lines of the file.

use crate::report::Fault;
use saphyr_parser::{Event, Parser, ScalarStyle, Span, Tag};
use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::rc::Rc;

/// The weight of all nodes that the aliases of one document may add. An Envoy
/// configuration of 1 MB has about 50 000 nodes.
const MAX_ALIASED: usize = 200_000;
/// The levels of a tree, as in `serde_json`.
const MAX_DEPTH: usize = 128;

/// A value of a file. An alias is the anchored node itself.
pub(crate) struct Node {
    pub(crate) line: usize,
    pub(crate) kind: Kind,
    /// Nodes with all aliases expanded; long text counts as several.
    weight: usize,
    depth: usize,
}

pub(crate) enum Kind {
    Scalar {
        text: String,
        /// Without quotes, so that it may be a number, a boolean or null.
        is_plain: bool,
    },
    Sequence(Vec<Rc<Node>>),
    Mapping(Vec<Entry>),
}

#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// Of the key.
    pub(crate) line: usize,
    pub(crate) value: Rc<Node>,
}

/// The documents of a file, and what is wrong with its syntax.
#[derive(Default)]
pub(crate) struct Stream {
    pub(crate) roots: Vec<Rc<Node>>,
    pub(crate) faults: Vec<Fault>,
}

/// Reads a file of one or several documents. After a syntax error, reading
/// continues at the next `---`.
pub(crate) fn read(text: &str) -> Stream {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut stream = read_parts(text);
    if stream.faults.is_empty() {
        return stream;
    }
    // The parser refuses a tab alone between a colon and a letter.
    if text.contains(":\t") {
        stream = read_parts(&text.replace(":\t", ": "));
    }
    // It also refuses the surrogate pairs of JSON. Their file has no lines.
    if text.contains("\\u")
        && stream.roots.is_empty()
        && let Ok(json) = serde_json::from_str::<serde_json::Value>(text)
        && let Some(root) = read_embedded(&json.to_string(), 1)
    {
        stream.roots.push(root);
        stream.faults.clear();
    }
    stream
}

fn read_parts(text: &str) -> Stream {
    let mut stream = Stream::default();
    let (mut rest, mut before) = (text, 0);
    loop {
        let mut loader = Loader::new(before, None);
        let error = loader.load(rest);
        stream.roots.append(&mut loader.roots);
        stream.faults.append(&mut loader.faults);
        let Err(error) = error else { break };
        let failed_line = error.line;
        stream.faults.push(error);
        let mut next = None;
        let mut offset = 0;
        for (index, line) in rest.split_inclusive('\n').enumerate() {
            if index > 0 && before + index + 1 >= failed_line && line.trim_end() == "---" {
                next = Some((index, offset));
                break;
            }
            offset += line.len();
        }
        let Some((lines, offset)) = next else { break };
        rest = rest.get(offset..).unwrap_or_default();
        before += lines;
    }
    stream
}

/// Reads text that stands inside a file, with the same line for all of it.
pub(crate) fn read_embedded(text: &str, line: usize) -> Option<Rc<Node>> {
    let mut loader = Loader::new(0, Some(line));
    loader.load(text).ok()?;
    loader.roots.pop()
}

/// An anchor and a collection that is still open.
struct Open {
    line: usize,
    anchor: usize,
    items: Items,
}

enum Items {
    Sequence(Vec<Rc<Node>>),
    Mapping(Fields),
}

#[derive(Default)]
struct Fields {
    entries: Vec<Entry>,
    keys: HashSet<String>,
    /// The key whose value comes next.
    key: Option<Rc<Node>>,
    merged: Vec<Rc<Node>>,
}

struct Loader {
    /// Lines before the text.
    before: usize,
    fixed_line: Option<usize>,
    open: Vec<Open>,
    anchors: HashMap<usize, Rc<Node>>,
    aliased: usize,
    roots: Vec<Rc<Node>>,
    faults: Vec<Fault>,
}

fn syntax_error(line: usize, what: &str) -> Fault {
    let text = format!("neither YAML nor JSON: {what}");
    Fault { line, text }
}

impl Loader {
    fn new(before: usize, fixed_line: Option<usize>) -> Self {
        Self {
            before,
            fixed_line,
            open: Vec::new(),
            anchors: HashMap::new(),
            aliased: 0,
            roots: Vec::new(),
            faults: Vec::new(),
        }
    }

    fn line(&self, line: usize) -> usize {
        self.fixed_line.unwrap_or(self.before + line)
    }

    fn load(&mut self, text: &str) -> Result<(), Fault> {
        for event in Parser::new_from_str(text) {
            match event {
                Ok((event, span)) => self.event(event, span)?,
                Err(error) => {
                    let line = self.line(error.marker().line());
                    return Err(syntax_error(line, error.info()));
                }
            }
        }
        Ok(())
    }

    fn event(&mut self, event: Event<'_>, span: Span) -> Result<(), Fault> {
        let line = self.line(span.start.line());
        let open = |anchor, items| Open {
            line,
            anchor,
            items,
        };
        match event {
            Event::DocumentStart(_) => {
                self.anchors.clear();
                self.aliased = 0;
            }
            Event::Scalar(text, style, anchor, tag) => {
                check_tag(tag.as_ref(), line)?;
                let is_plain = style == ScalarStyle::Plain && !is_string(tag.as_ref());
                let text = text.into_owned();
                let kind = Kind::Scalar { text, is_plain };
                self.place(Rc::new(Node::new(line, kind)), anchor, line)?;
            }
            Event::SequenceStart(anchor, tag) => {
                check_tag(tag.as_ref(), line)?;
                self.open.push(open(anchor, Items::Sequence(Vec::new())));
            }
            Event::MappingStart(anchor, tag) => {
                check_tag(tag.as_ref(), line)?;
                self.open
                    .push(open(anchor, Items::Mapping(Fields::default())));
            }
            Event::SequenceEnd | Event::MappingEnd => self.close()?,
            Event::Alias(anchor) => {
                let Some(node) = self.anchors.get(&anchor).cloned() else {
                    return Err(syntax_error(line, "an alias refers to no node before it"));
                };
                self.count_aliased(node.weight, line)?;
                self.place(node, 0, line)?;
            }
            _ => {}
        }
        // Without this an open collection could be nested without a bound.
        self.check_depth(0, line)
    }

    fn check_depth(&self, depth: usize, line: usize) -> Result<(), Fault> {
        if self.open.len().saturating_add(depth) <= MAX_DEPTH {
            return Ok(());
        }
        let text = format!("nested deeper than {MAX_DEPTH} levels");
        Err(Fault { line, text })
    }

    fn count_aliased(&mut self, weight: usize, line: usize) -> Result<(), Fault> {
        self.aliased = self.aliased.saturating_add(weight);
        if self.aliased <= MAX_ALIASED {
            return Ok(());
        }
        let text = format!("aliases expand to more than {MAX_ALIASED} nodes");
        Err(Fault { line, text })
    }

    fn close(&mut self) -> Result<(), Fault> {
        let Some(open) = self.open.pop() else {
            return Ok(());
        };
        let kind = match open.items {
            Items::Sequence(items) => Kind::Sequence(items),
            Items::Mapping(mut fields) => {
                for node in std::mem::take(&mut fields.merged) {
                    self.merge(&node, &mut fields)?;
                }
                Kind::Mapping(fields.entries)
            }
        };
        let node = Rc::new(Node::new(open.line, kind));
        self.place(node, open.anchor, open.line)
    }

    /// Adds the entries of a merge key that the mapping does not have itself.
    fn merge(&mut self, node: &Node, fields: &mut Fields) -> Result<(), Fault> {
        for entry in node.entries() {
            if fields.keys.insert(entry.key.clone()) {
                self.count_aliased(entry.value.weight, entry.line)?;
                fields.entries.push(entry.clone());
            }
        }
        Ok(())
    }

    /// Puts a node that is complete into the collection that is open.
    fn place(&mut self, node: Rc<Node>, anchor: usize, line: usize) -> Result<(), Fault> {
        self.check_depth(node.depth, line)?;
        if anchor > 0 {
            self.anchors.insert(anchor, node.clone());
        }
        let fields = match self.open.last_mut().map(|open| &mut open.items) {
            None => {
                self.roots.push(node);
                return Ok(());
            }
            Some(Items::Sequence(items)) => {
                items.push(node);
                return Ok(());
            }
            Some(Items::Mapping(fields)) => fields,
        };
        let Some(key) = fields.key.take() else {
            if node.text().is_none() {
                return Err(syntax_error(line, "a key is not a scalar"));
            }
            // Of an aliased key the line of the alias is wanted.
            fields.key = Some(match node.line == line {
                true => node,
                false => Rc::new(node.moved_to(line)),
            });
            return Ok(());
        };
        let text = key.text().unwrap_or_default();
        if text == "<<" && key.is_plain() {
            match node.mergeable() {
                Some(merged) => fields.merged.extend(merged),
                None => return Err(syntax_error(line, "a merge key needs a mapping")),
            }
        } else if fields.keys.insert(text.to_owned()) {
            fields.entries.push(Entry {
                key: text.to_owned(),
                line: key.line,
                value: node,
            });
        } else {
            // Without the key: a part of a secret may look like one.
            self.faults.push(Fault {
                line: key.line,
                text: "a key stands here for the second time".to_owned(),
            });
        }
        Ok(())
    }
}

/// Refuses tags that JSON has no type for, without their names: a part of a
/// secret may look like one.
fn check_tag(tag: Option<&Cow<'_, Tag>>, line: usize) -> Result<(), Fault> {
    let is_known = |tag: &Tag| tag.is_yaml_core_schema() || is_string_tag(tag);
    match tag.is_none_or(|tag| is_known(tag)) {
        true => Ok(()),
        false => Err(syntax_error(line, "an unknown tag")),
    }
}

fn is_string_tag(tag: &Tag) -> bool {
    tag.suffix == "str" && tag.is_yaml_core_schema()
        || format!("{}{}", tag.handle, tag.suffix) == "!"
}

fn is_string(tag: Option<&Cow<'_, Tag>>) -> bool {
    tag.is_some_and(|tag| is_string_tag(tag))
}

impl Node {
    fn new(line: usize, kind: Kind) -> Self {
        let children: Vec<&Node> = match &kind {
            Kind::Scalar { .. } => Vec::new(),
            Kind::Sequence(items) => items.iter().map(Rc::as_ref).collect(),
            Kind::Mapping(entries) => entries.iter().map(|entry| entry.value.as_ref()).collect(),
        };
        let own = match &kind {
            Kind::Scalar { text, .. } => 1 + text.len() / 64,
            _ => 1,
        };
        let weights = children.iter().map(|child| child.weight);
        let weight = weights.fold(own, usize::saturating_add);
        let depth = children.iter().map(|child| child.depth).max();
        Self {
            line,
            weight,
            depth: depth.map_or(0, |depth| depth + 1),
            kind,
        }
    }

    /// The same scalar on another line.
    fn moved_to(&self, line: usize) -> Self {
        let text = self.text().unwrap_or_default().to_owned();
        let is_plain = self.is_plain();
        Self::new(line, Kind::Scalar { text, is_plain })
    }

    /// The mappings that a merge key with this value adds, first wins.
    fn mergeable(self: &Rc<Self>) -> Option<Vec<Rc<Self>>> {
        match &self.kind {
            Kind::Mapping(_) => Some(vec![self.clone()]),
            Kind::Sequence(items) => items
                .iter()
                .all(|item| matches!(item.kind, Kind::Mapping(_)))
                .then(|| items.clone()),
            Kind::Scalar { .. } => None,
        }
    }
}
