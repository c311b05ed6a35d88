//! YAML with places, so that one faulty part does not take the rest of a file with it.

use std::fmt;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_saphyr::Spanned;

use crate::position::Position;

/// A YAML node and where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) value: Yaml,
    pub(crate) at: Position,
    /// First byte in the file, where known.
    offset: Option<usize>,
    length: usize,
    /// The whole file.
    source: Arc<str>,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Yaml {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(Node, Node)>),
}

impl PartialEq for Node {
    fn eq(&self, other: &Self) -> bool {
        self.value == other.value
    }
}

impl Node {
    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<&Node> {
        match &self.value {
            Yaml::Map(entries) => entries.iter().find_map(|(name, value)| {
                matches!(&name.value, Yaml::Text(text) if text == key).then_some(value)
            }),
            _ => None,
        }
        .filter(|node| node.value != Yaml::Null)
    }

    /// A text, or the characters in the file that YAML took for something else.
    pub(crate) fn text(&self) -> Option<String> {
        match &self.value {
            Yaml::Text(text) => Some(text.clone()),
            Yaml::Bool(_) | Yaml::Int(_) | Yaml::Float(_) => {
                let offset = self.offset?;
                let text = self.source.get(offset..offset + self.length)?;
                Some(text.trim().to_owned())
            }
            _ => None,
        }
    }

    fn set_source(&mut self, source: &Arc<str>) {
        self.source = Arc::clone(source);
        match &mut self.value {
            Yaml::List(list) => list.iter_mut().for_each(|node| node.set_source(source)),
            Yaml::Map(entries) => entries.iter_mut().for_each(|(key, value)| {
                key.set_source(source);
                value.set_source(source);
            }),
            _ => {}
        }
    }

    /// What it is, for people.
    pub(crate) const fn describe(&self) -> &'static str {
        match self.value {
            Yaml::Null => "nothing",
            Yaml::Bool(_) => "a boolean",
            Yaml::Int(_) | Yaml::Float(_) => "a number",
            Yaml::Text(_) => "a text",
            Yaml::List(_) => "a list",
            Yaml::Map(_) => "a mapping",
        }
    }

    /// Where in the file a byte of this node's text stands.
    ///
    /// YAML folds, indents and escapes; so both texts are walked side by side, space left
    /// aside.
    pub(crate) fn position_in(&self, text: &str, byte: usize) -> Position {
        let source = &*self.source;
        let Some(start) = self.offset.filter(|start| source.is_char_boundary(*start)) else {
            return self.at;
        };
        let mut at = start;
        let quote = match source[start..].chars().next() {
            Some('|' | '>') => {
                at += source[start..].find('\n').map_or(0, |newline| newline + 1);
                None
            }
            Some(quote @ ('"' | '\'')) => {
                at += 1;
                Some(quote)
            }
            _ => None,
        };
        for wanted in text[..byte.min(text.len())]
            .chars()
            .filter(|c| !c.is_whitespace())
        {
            at = behind(source, at, wanted, quote);
        }
        // On to the character itself.
        let rest = source.get(at..).unwrap_or_default();
        if byte < text.len() {
            at += rest.len() - rest.trim_start().len();
        }
        Position::of(source, at)
    }
}

/// The place behind the next `wanted` character, escapes considered.
fn behind(source: &str, mut at: usize, wanted: char, quote: Option<char>) -> usize {
    let mut characters = source[at..].chars().peekable();
    while let Some(character) = characters.next() {
        at += character.len_utf8();
        if character == '\\' && quote == Some('"') {
            let Some(next) = characters.peek().copied() else {
                return at;
            };
            if next != wanted {
                // An escaped space, or the end of a line.
                characters.next();
                at += next.len_utf8();
            }
            continue;
        }
        if character == wanted {
            // A quote inside single quotes is written twice.
            let doubled = quote == Some('\'') && character == '\'';
            return at + usize::from(doubled && characters.peek() == Some(&'\''));
        }
    }
    at
}

/// Reads a file. The error carries the place where YAML itself is broken.
pub(crate) fn parse(text: &str) -> Result<Node, (String, Option<Position>)> {
    let mut root = serde_saphyr::from_str::<Node>(text).map_err(|error| {
        let at = error.location().map(|location| Position {
            line: location.line() as usize,
            column: location.column() as usize,
        });
        let message = error.without_snippet().to_string();
        (message.lines().next().unwrap_or_default().to_owned(), at)
    })?;
    root.set_source(&Arc::from(text));
    Ok(root)
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Yaml>::deserialize(deserializer)?;
        let at = spanned.defined;
        Ok(Node {
            value: spanned.value,
            at: Position {
                line: at.line() as usize,
                column: at.column() as usize,
            },
            offset: at.span().byte_offset().map(|offset| offset as usize),
            length: at.span().byte_len().unwrap_or(0) as usize,
            source: Arc::default(),
        })
    }
}

impl<'de> Deserialize<'de> for Yaml {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(YamlVisitor)
    }
}

struct YamlVisitor;

impl<'de> Visitor<'de> for YamlVisitor {
    type Value = Yaml;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any YAML value")
    }

    fn visit_unit<E: Error>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_none<E: Error>(self) -> Result<Yaml, E> {
        Ok(Yaml::Null)
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Yaml, D::Error> {
        Yaml::deserialize(deserializer)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Yaml, E> {
        Ok(Yaml::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Yaml, E> {
        Ok(Yaml::Int(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Yaml, E> {
        Ok(i64::try_from(value).map_or(Yaml::Float(value as f64), Yaml::Int))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Yaml, E> {
        Ok(Yaml::Float(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Yaml, E> {
        Ok(Yaml::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Yaml, A::Error> {
        let mut list = Vec::new();
        while let Some(node) = access.next_element()? {
            list.push(node);
        }
        Ok(Yaml::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Yaml, A::Error> {
        let mut entries = Vec::new();
        while let Some(entry) = access.next_entry()? {
            entries.push(entry);
        }
        Ok(Yaml::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(yaml: &str, word: &str) -> (usize, usize) {
        let node = parse(yaml).unwrap();
        let node = node.get("e").unwrap();
        let text = node.text().unwrap();
        let position = node.position_in(&text, text.find(word).unwrap());
        (position.line, position.column)
    }

    #[test]
    fn a_place_in_a_text_is_found_in_the_file_however_the_text_is_written() {
        assert_eq!(place("a: 1\ne: x == here\n", "here"), (2, 9));
        assert_eq!(place("e: \"x \\\"a\\\" here\"\n", "here"), (1, 13));
        assert_eq!(place("e: 'x ''a'' here'\n", "here"), (1, 13));
        assert_eq!(place("e: |\n  x ==\n    here\n", "here"), (3, 5));
        assert_eq!(place("e: >-\n  x == y\n  && here\n", "here"), (3, 6));
        assert_eq!(place("e: x ==\n  here\n", "here"), (2, 3));
    }

    #[test]
    fn scalars_keep_the_text_they_were_written_with() {
        let yaml = "e: 1.10\n";
        assert_eq!(
            parse(yaml).unwrap().get("e").unwrap().text().as_deref(),
            Some("1.10")
        );
    }

    #[test]
    fn broken_yaml_says_where() {
        let (_, at) = parse("a:\n  - [1, 2\nb: {").unwrap_err();
        assert!(at.is_some_and(|at| at.line >= 2));
    }
}
