//! What names refer to: constants, macros, fields, variables.

use super::operand::{Operand, Origin, TextKind};
use super::{Compiler, Result};
use crate::catalogue::Role;
use crate::position::Span;
use crate::program::{
    AddressNode, At, BoolNode, IntList, IntNode, Read, Source, TextList, TextNode,
};
use crate::syntax::{ExpressionError, Problem};
use crate::value::{FieldId, IteratorId, ValueType};

/// Which element of an iterator a name asks for.
enum Index {
    None,
    Register(String),
    Number(usize),
}

impl<'a> Compiler<'a> {
    /// A bare name: constant, then macro, then field.
    pub(super) fn name(&mut self, name: &str, span: Span) -> Result<Operand> {
        match name {
            "true" => return Ok(Operand::Bool(BoolNode::Constant(true))),
            "false" => return Ok(Operand::Bool(BoolNode::Constant(false))),
            _ => {}
        }
        if let Some(value) = self.environment.catalogue.constant(name) {
            return Ok(Operand::Int(IntNode::Constant(value), Origin::Literal));
        }
        if let Some((name, body)) = self.environment.macros.get_key_value(name) {
            return self.expand_macro(name, body, span);
        }
        match self.field_operand(name, span) {
            Err(ExpressionError {
                problem: Problem::UnknownField(name),
                suggestion,
                ..
            }) => {
                let others = self.environment.macros.keys().map(String::as_str);
                let constants = self.environment.catalogue.constants().map(|(name, _)| name);
                let suggestion =
                    suggestion.or_else(|| self.suggestion(&name, others.chain(constants)));
                Err(ExpressionError::new(Problem::UnknownName(name), span).suggest(suggestion))
            }
            other => other,
        }
    }

    /// A field, possibly with a register or index and with suffixes.
    pub(super) fn field_operand(&mut self, name: &str, span: Span) -> Result<Operand> {
        let (plain, index) = split_index(name, span)?;
        if let Some(field) = self.environment.catalogue.field(&plain) {
            return self.field(field, index, span);
        }
        if let Some(iterator) = self.environment.catalogue.iterator(&plain) {
            let problem = Problem::Type {
                expected: "a field".to_owned(),
                found: format!("the whole list {plain}"),
            };
            let first = self.environment.catalogue.fields();
            let example = first
                .into_iter()
                .find(|(_, info)| info.iterator == Some(iterator));
            let suggestion = example.map(|(_, info)| info.name.clone());
            return Err(ExpressionError::new(problem, span).suggest(suggestion));
        }
        if let Some(base) = name.strip_suffix(".length") {
            if let Some(iterator) = self.environment.catalogue.iterator(base) {
                self.note_event(
                    self.environment.catalogue.iterator_info(iterator).event,
                    span,
                )?;
                let node = IntNode::IteratorLength(iterator);
                return Ok(Operand::Int(node, Origin::Computed));
            }
            let operand = self.field_operand(base, span)?;
            return self
                .length(operand)
                .map_err(|operand| suffix_error("length", &operand, span));
        }
        if let Some(base) = name.strip_suffix(".root_domain") {
            return match self.field_operand(base, span)? {
                Operand::Text(node, kind) => {
                    Ok(Operand::Text(TextNode::RootDomain(Box::new(node)), kind))
                }
                Operand::Texts(list, kind) => Ok(Operand::Texts(
                    TextList {
                        root_domain: true,
                        ..list
                    },
                    kind,
                )),
                other => Err(suffix_error("root_domain", &other, span)),
            };
        }
        if self.environment.catalogue.expansion(&plain).is_some() {
            return Err(ExpressionError::new(Problem::PseudoField(plain), span));
        }
        let fields = self.environment.catalogue.fields();
        let suggestion = self.suggestion(&plain, fields.map(|(_, info)| info.name.as_str()));
        Err(ExpressionError::new(Problem::UnknownField(name.to_owned()), span).suggest(suggestion))
    }

    fn field(&mut self, field: FieldId, index: Index, span: Span) -> Result<Operand> {
        let info = self.environment.catalogue.info(field);
        self.note_event(info.event, span)?;
        if !self.fields.contains(&field) {
            self.fields.push(field);
        }
        let kind = TextKind::of(info);
        if let (Some(Role::RuleTags), Some(tags)) = (info.role, self.environment.rule_tags) {
            return Ok(several(Source::Variable(tags), info.value_type, kind));
        }
        let at = match (info.iterator, index) {
            (None, Index::None) => At::Event,
            (Some(iterator), Index::Number(index)) => At::Index(iterator, index),
            (Some(iterator), Index::Register(name)) => {
                self.note_register(name, iterator, span)?;
                At::Register
            }
            (Some(iterator), Index::None) => {
                let source = Source::Each(field, iterator);
                return Ok(several(source, info.value_type.list(), kind));
            }
            (None, _) => {
                return Err(ExpressionError::new(
                    Problem::NotIndexable(info.name.clone()),
                    span,
                ));
            }
        };
        let read = Read { field, at };
        if self.environment.zeros.take(info) {
            match info.value_type {
                ValueType::Bool => return Ok(Operand::Bool(BoolNode::Constant(false))),
                ValueType::Int => return Ok(Operand::Int(IntNode::Constant(0), Origin::Value)),
                ValueType::String => {
                    let empty = TextNode::Constant("".into());
                    return Ok(Operand::Text(empty, Some(kind)));
                }
                // A list or an address is no constant anywhere: nothing is made of it.
                _ => {}
            }
        }
        Ok(match info.value_type {
            ValueType::Bool => Operand::Bool(BoolNode::Read(read)),
            ValueType::Int => Operand::Int(IntNode::Read(read), Origin::Value),
            ValueType::String => Operand::Text(TextNode::Read(read), Some(kind)),
            ValueType::Ip => Operand::Address(AddressNode::Read(read)),
            list => several(Source::Read(read), list, kind),
        })
    }

    /// A rule belongs to one event type.
    fn note_event(&mut self, event: Option<crate::value::EventId>, span: Span) -> Result<()> {
        let (Some(event), before) = (event, self.event) else {
            return Ok(());
        };
        if let Some(before) = before
            && before != event
        {
            let name = |event| self.environment.catalogue.event_name(event).to_owned();
            let problem = Problem::MixedEvents {
                first: name(before),
                other: name(event),
            };
            return Err(ExpressionError::new(problem, span));
        }
        self.event = Some(event);
        Ok(())
    }

    fn note_register(&mut self, name: String, iterator: IteratorId, span: Span) -> Result<()> {
        let problem = match &self.register {
            None => {
                self.register = Some((name, iterator));
                return Ok(());
            }
            Some((first, before)) if *first == name && *before == iterator => return Ok(()),
            Some((first, _)) if *first == name => Problem::RegisterReused(name),
            Some((first, _)) => Problem::Registers {
                first: first.clone(),
                other: name,
            },
        };
        Err(ExpressionError::new(problem, span))
    }

    /// A variable, possibly with `.length`.
    pub(super) fn variable(&mut self, name: &str, span: Span) -> Result<Operand> {
        if let Some(id) = self.environment.variables.find(name) {
            let kind = TextKind::plain();
            return Ok(match self.environment.variables.info(id).value_type {
                ValueType::Bool => Operand::Bool(BoolNode::Variable(id)),
                ValueType::Int => Operand::Int(IntNode::Variable(id), Origin::Value),
                ValueType::String => Operand::Text(TextNode::Variable(id), None),
                ValueType::Ip => Operand::Address(AddressNode::Variable(id)),
                list => several(Source::Variable(id), list, kind),
            });
        }
        if name == "builtins.uuid4" {
            return Ok(Operand::Text(TextNode::Uuid, None));
        }
        if let Some(field) = self.environment.catalogue.builtin(name) {
            return self.field(field, Index::None, span);
        }
        if let Some(base) = name.strip_suffix(".length") {
            let operand = self.variable(base, span)?;
            return self
                .length(operand)
                .map_err(|operand| suffix_error("length", &operand, span));
        }
        let suggestion = self.suggestion(name, self.environment.variables.names());
        let problem = Problem::UnknownVariable(name.to_owned());
        let suggestion = suggestion.map(|name| format!("${{{name}}}"));
        Err(ExpressionError::new(problem, span).suggest(suggestion))
    }

    /// The `.length` of something, or that something when it has none.
    fn length(&self, operand: Operand) -> std::result::Result<Operand, Operand> {
        let node = match operand {
            Operand::Text(node, _) => IntNode::TextLength(Box::new(node)),
            Operand::Texts(TextList { source, .. }, _)
            | Operand::Bools(source)
            | Operand::Addresses(source)
            | Operand::Ints(IntList::Values(source)) => match source {
                // One length for each record: of its list, or of its text.
                Source::Each(field, iterator) => {
                    let list = match self.environment.catalogue.info(field).value_type {
                        ValueType::String => IntList::TextLengths(source),
                        list if list.is_list() => IntList::Counts(field, iterator),
                        _ => return Err(operand),
                    };
                    return Ok(Operand::Ints(list));
                }
                source => IntNode::Count(source),
            },
            other => return Err(other),
        };
        Ok(Operand::Int(node, Origin::Computed))
    }
}

fn several(source: Source, list: ValueType, kind: TextKind) -> Operand {
    match list {
        ValueType::Bool | ValueType::Bools => Operand::Bools(source),
        ValueType::Int | ValueType::Ints => Operand::Ints(IntList::Values(source)),
        ValueType::String | ValueType::Strings => Operand::Texts(
            TextList {
                source,
                root_domain: false,
            },
            kind,
        ),
        ValueType::Ip | ValueType::Ips => Operand::Addresses(source),
    }
}

fn suffix_error(suffix: &str, operand: &Operand, span: Span) -> ExpressionError {
    let expected = match suffix {
        "length" => "a text or a list in front of .length",
        _ => "a text in front of .root_domain",
    };
    let problem = Problem::Type {
        expected: expected.to_owned(),
        found: operand.describe(),
    };
    ExpressionError::new(problem, span)
}

/// Takes `[A]` or `[0]` out of a name.
fn split_index(name: &str, span: Span) -> Result<(String, Index)> {
    let Some(open) = name.find('[') else {
        return Ok((name.to_owned(), Index::None));
    };
    let inside = &name[open + 1..];
    let Some(close) = inside.find(']') else {
        return Err(ExpressionError::new(Problem::Unclosed("an index"), span));
    };
    let (inside, rest) = (&inside[..close], &inside[close + 1..]);
    if rest.contains(['[', ']']) {
        return Err(ExpressionError::new(
            Problem::NotIndexable(name.to_owned()),
            span,
        ));
    }
    let plain = format!("{}{rest}", &name[..open]);
    if let Ok(number) = inside.parse::<usize>() {
        return Ok((plain, Index::Number(number)));
    }
    let is_name = inside.starts_with(|c: char| c.is_ascii_alphabetic());
    if !is_name {
        let problem = Problem::RegisterName(inside.to_owned());
        return Err(ExpressionError::new(problem, span));
    }
    Ok((plain, Index::Register(inside.to_owned())))
}
