//! The components of an `appstream.xml`: what lies where, and of which refs each speaks.

use std::collections::HashSet;
use std::ops::Range;

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use crate::compression::{DEFLATE_END, PieceEncoder};

/// An `appstream.xml` with the places of its components.
#[derive(Debug)]
pub(super) struct Components {
    text: String,
    /// Where the start tag of the root element ends.
    head_end: usize,
    /// Where the end tag of the root element lies.
    tail: Range<usize>,
    list: Vec<Component>,
    /// What stands before the components, compressed.
    packed_head: Box<[u8]>,
}

/// One app, or another thing that can be installed.
#[derive(Debug, Default)]
struct Component {
    range: Range<usize>,
    /// Its flatpak bundles.
    refs: Vec<String>,
    /// The files of its cached icons.
    icons: Vec<String>,
    /// The component with what stands before it, compressed. To compress thousands anew for each person would take too long.
    packed: Box<[u8]>,
}

/// Some of the components.
#[derive(Debug)]
pub(super) struct Chosen<'a> {
    /// The text.
    pub(super) text: Vec<u8>,
    /// The text as deflate.
    pub(super) packed: Vec<u8>,
    /// The files of their icons.
    pub(super) icons: HashSet<&'a str>,
}

/// What stands before each component.
const BEFORE: &str = "\n  ";

impl Components {
    /// The whole text.
    pub(super) fn text(&self) -> &[u8] {
        self.text.as_bytes()
    }

    /// The text with only the components whose refs all `stay`, byte for byte, and the names of their icons. A component of no ref goes, and
    /// so does what stands between them.
    pub(super) fn with_refs(&self, stays: impl Fn(&str) -> bool) -> Chosen<'_> {
        let mut icons = HashSet::new();
        let mut text = self.text.get(..self.head_end).unwrap_or_default().to_owned();
        let mut packed = self.packed_head.to_vec();
        for component in &self.list {
            if component.refs.is_empty() || !component.refs.iter().all(|name| stays(name)) {
                continue;
            }
            text.push_str(BEFORE);
            text.push_str(self.text.get(component.range.clone()).unwrap_or_default());
            packed.extend_from_slice(&component.packed);
            icons.extend(component.icons.iter().map(String::as_str));
        }
        let end = format!("\n{}\n", self.text.get(self.tail.clone()).unwrap_or_default());
        text.push_str(&end);
        packed.extend_from_slice(&PieceEncoder::new().piece(end.as_bytes()));
        packed.extend_from_slice(&DEFLATE_END);
        Chosen { text: text.into_bytes(), packed, icons }
    }
}

/// What the text that is being read is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Bundle,
    Icon,
}

/// Finds the components; `None` when it is no well-formed `<components>`.
pub(super) fn read_components(text: Vec<u8>) -> Option<Components> {
    let text = String::from_utf8(text).ok()?;
    let mut reader = Reader::from_str(&text);
    let mut list = Vec::new();
    let mut pieces = PieceEncoder::new();
    let mut depth = 0_usize;
    let mut head_end = None;
    let mut tail = None;
    let mut component: Option<Component> = None;
    let mut inside: Option<(Inside, String)> = None;
    loop {
        let start = usize::try_from(reader.buffer_position()).ok()?;
        let event = reader.read_event().ok()?;
        let end = usize::try_from(reader.buffer_position()).ok()?;
        match event {
            Event::Start(tag) => {
                match depth {
                    0 if head_end.is_none() && tag.name().as_ref() == "components" => head_end = Some(end),
                    0 => return None,
                    1 if tag.name().as_ref() == "component" => {
                        component = Some(Component { range: start..end, ..Component::default() });
                    }
                    2 if component.is_some() => inside = opens(&tag).map(|kind| (kind, String::new())),
                    _ => {}
                }
                depth += 1;
            }
            Event::Text(piece) => {
                if let Some((_, text)) = &mut inside {
                    text.push_str(&piece);
                }
            }
            Event::End(_) => {
                depth = depth.checked_sub(1)?;
                match depth {
                    0 => tail = Some(start..end),
                    1 => {
                        if let Some(mut whole) = component.take() {
                            whole.range.end = end;
                            let content = text.get(whole.range.clone())?;
                            whole.packed = pieces.piece(&[BEFORE, content].concat().into_bytes());
                            list.push(whole);
                        }
                    }
                    2 => {
                        if let (Some(component), Some((kind, text))) = (&mut component, inside.take()) {
                            let into = match kind {
                                Inside::Bundle => &mut component.refs,
                                Inside::Icon => &mut component.icons,
                            };
                            into.push(text.trim().to_owned());
                        }
                    }
                    _ => {}
                }
            }
            Event::Eof => break,
            // What else stands in a name makes it one that no ref has.
            Event::CData(_) | Event::GeneralRef(_) => {
                if let Some((_, text)) = &mut inside {
                    text.push('\u{fffd}');
                }
            }
            Event::Empty(_) if depth == 0 => return None,
            Event::Empty(_) | Event::Comment(_) | Event::Decl(_) | Event::PI(_) | Event::DocType(_) => {}
        }
    }
    let (head_end, tail) = (head_end?, tail?);
    drop(reader);
    let packed_head = pieces.piece(text.get(..head_end)?.as_bytes());
    Some(Components { text, head_end, tail, list, packed_head })
}

fn opens(tag: &BytesStart<'_>) -> Option<Inside> {
    let has_type = |kind: &str| {
        tag.try_get_attribute("type").ok().flatten().is_some_and(|attribute| *attribute.value == *kind)
    };
    match tag.name().as_ref() {
        "bundle" if has_type("flatpak") => Some(Inside::Bundle),
        "icon" if has_type("cached") => Some(Inside::Icon),
        _ => None,
    }
}

/// What is left of an `appstream.xml` of the components whose refs all `stay`; `None` when it is none.
///
/// Public for the tests, and for the fuzzer.
#[doc(hidden)]
#[must_use]
pub fn filtered_components(text: &[u8], stays: impl Fn(&str) -> bool) -> Option<Vec<u8>> {
    let components = read_components(text.to_vec())?;
    let chosen = components.with_refs(stays);
    Some(chosen.text)
}
