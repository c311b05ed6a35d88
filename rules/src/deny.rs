//! From a rule with a `deny` action to a condition that the tracer judges by itself, before the
//! call is made.
//!
//! The tracer knows the paths of the call, the flags of an open, and the process that calls.
//! A condition on anything else cannot be denied, and is refused with the rule.

use picket_events::EventType;
use picket_events::deny::{Condition, DENIABLE, DenyRule, IntField, TextField};

use crate::catalogue::Catalogue;
use crate::program::{At, BoolNode, IntNode, Program, Read, TextNode};
use crate::syntax::ast::Comparison;
use crate::value::{EventId, FieldId};

/// The condition of a rule on these events, or why it cannot be denied.
pub(crate) fn compile(
    catalogue: &Catalogue,
    id: &str,
    event: EventId,
    program: &Program,
) -> Result<DenyRule, String> {
    let name = catalogue.event_name(event);
    let Some(event) = EventType::from_name(name).filter(|event| DENIABLE.contains(event)) else {
        let names: Vec<&str> = DENIABLE.iter().map(|event| event.name()).collect();
        return Err(format!(
            "{name} events cannot be denied, only {}",
            names.join(", ")
        ));
    };
    if program.register.is_some() {
        return Err("ancestors are not known where a call is judged".to_owned());
    }
    let compiler = Compiler { catalogue, event };
    let condition = compiler.bool(&program.root)?;
    let paths = [
        TextField::Path,
        TextField::Name,
        TextField::Destination,
        TextField::DestinationName,
        TextField::Called,
        TextField::CalledName,
    ];
    if !condition.looks_at(&paths) {
        return Err(format!("the condition names no file of the {name}"));
    }
    Ok(DenyRule {
        rule: id.to_owned(),
        event,
        condition,
    })
}

struct Compiler<'a> {
    catalogue: &'a Catalogue,
    event: EventType,
}

impl Compiler<'_> {
    fn bool(&self, node: &BoolNode) -> Result<Condition, String> {
        let row = |nodes: &[BoolNode]| -> Result<Vec<Condition>, String> {
            nodes.iter().map(|node| self.bool(node)).collect()
        };
        Ok(match node {
            BoolNode::Constant(value) => Condition::Constant(*value),
            BoolNode::Not(inner) => Condition::Not(Box::new(self.bool(inner)?)),
            BoolNode::All(nodes) => Condition::All(row(nodes)?),
            BoolNode::Any(nodes) => Condition::Any(row(nodes)?),
            BoolNode::Text {
                value: TextNode::Read(read),
                matcher,
            } => {
                let field = self.text(*read)?;
                let Some((texts, globs, wildcards)) = matcher.constants() else {
                    return Err("regular expressions and lists cannot be used".to_owned());
                };
                Condition::Text {
                    field,
                    texts,
                    globs: globs.to_vec(),
                    wildcards: wildcards.to_vec(),
                }
            }
            BoolNode::SameText {
                left: TextNode::Read(read),
                right: TextNode::Constant(text),
                no_case: false,
            } => Condition::Text {
                field: self.text(*read)?,
                texts: vec![text.to_string()],
                globs: Vec::new(),
                wildcards: Vec::new(),
            },
            BoolNode::Int {
                operator,
                left,
                right: IntNode::Constant(value),
            } => self.compared(*operator, left, *value)?,
            BoolNode::IntIn {
                value: IntNode::Read(read),
                set,
            } => Condition::OneOf {
                field: self.int(*read)?,
                values: set.to_vec(),
            },
            _ => {
                return Err("it is more than comparisons of fields with constants".to_owned());
            }
        })
    }

    fn compared(
        &self,
        operator: Comparison,
        left: &IntNode,
        value: i64,
    ) -> Result<Condition, String> {
        let condition = match left {
            IntNode::Read(read) if matches!(operator, Comparison::Equal | Comparison::NotEqual) => {
                Condition::OneOf {
                    field: self.int(*read)?,
                    values: vec![value],
                }
            }
            // An alternative path counts where there is one.
            IntNode::TextLength(text) if value == 0 && operator == Comparison::Greater => {
                let TextNode::Read(read) = &**text else {
                    return Err("lengths of texts cannot be used".to_owned());
                };
                return Ok(Condition::Filled(self.text(*read)?));
            }
            IntNode::And(one, other) if value == 0 => {
                let ((IntNode::Read(read), IntNode::Constant(mask))
                | (IntNode::Constant(mask), IntNode::Read(read))) = (&**one, &**other)
                else {
                    return Err("of numbers, only bits can be tested".to_owned());
                };
                let any = Condition::AnyBit {
                    field: self.int(*read)?,
                    mask: *mask,
                };
                return match operator {
                    Comparison::Greater | Comparison::NotEqual => Ok(any),
                    Comparison::Equal => Ok(Condition::Not(Box::new(any))),
                    _ => Err("of numbers, only bits and equality can be tested".to_owned()),
                };
            }
            _ => return Err("of numbers, only bits and equality can be tested".to_owned()),
        };
        Ok(match operator {
            Comparison::NotEqual => Condition::Not(Box::new(condition)),
            _ => condition,
        })
    }

    /// The part of a field's name that is the same for all events, and whether it is the event's.
    fn name(&self, read: Read) -> Result<(&str, bool), String> {
        let Read {
            field,
            at: At::Event,
        } = read
        else {
            return Err("ancestors are not known where a call is judged".to_owned());
        };
        let name = self.full_name(field);
        let own = name.strip_prefix(self.event.name());
        Ok(match own.and_then(|rest| rest.strip_prefix('.')) {
            Some(rest) => (rest, true),
            None => match name.strip_prefix("process.") {
                // The process of an exec is the one that it makes.
                Some(rest) if self.event == EventType::Exec => (rest, true),
                Some(rest) => (rest, false),
                None => (name, false),
            },
        })
    }

    fn full_name(&self, field: FieldId) -> &str {
        &self.catalogue.info(field).name
    }

    fn text(&self, read: Read) -> Result<TextField, String> {
        Ok(match self.name(read)? {
            ("file.path", true) => TextField::Path,
            ("file.name", true) => TextField::Name,
            ("file.destination.path", true) => TextField::Destination,
            ("file.destination.name", true) => TextField::DestinationName,
            ("called.path", true) => TextField::Called,
            ("called.name", true) => TextField::CalledName,
            ("file.path", false) => TextField::Program,
            ("file.name", false) => TextField::ProgramName,
            ("called.path", false) => TextField::ProgramCalled,
            ("called.name", false) => TextField::ProgramCalledName,
            _ => return Err(self.unknown(read)),
        })
    }

    fn int(&self, read: Read) -> Result<IntField, String> {
        Ok(match self.name(read)? {
            ("flags", true) if self.event == EventType::Open => IntField::Flags,
            ("uid", _) if self.is_callers(read) => IntField::Uid,
            ("gid", _) if self.is_callers(read) => IntField::Gid,
            ("euid", _) if self.is_callers(read) => IntField::EffectiveUid,
            _ => return Err(self.unknown(read)),
        })
    }

    /// Whether it is a field of the process: an event's own ids may be something else.
    fn is_callers(&self, read: Read) -> bool {
        let name = self.full_name(read.field);
        name.starts_with("process.") || self.event == EventType::Exec
    }

    fn unknown(&self, read: Read) -> String {
        format!(
            "{} is not known where a call is judged; file paths and names, open.flags, \
             process.file.path, process.file.name, process.uid, process.gid and process.euid are",
            self.full_name(read.field)
        )
    }
}

#[cfg(test)]
mod tests {
    use picket_events::deny::Facts;

    use crate::{Catalogue, LoadOptions, PolicySource, RuleSet};

    fn load(expression: &str, rest: &str) -> (RuleSet, Vec<String>) {
        let source = PolicySource {
            name: "test".to_owned(),
            text: format!(
                "rules:\n- id: r\n  expression: >-\n    {expression}\n  actions: [{{deny: {{}}{rest}}}]\n"
            ),
            origin: String::new(),
        };
        let (rules, report) =
            RuleSet::load(&Catalogue::standard(), &[source], &LoadOptions::default());
        let errors = report.errors().map(|(_, error)| error.message.clone());
        (rules, errors.collect())
    }

    fn refuses(expression: &str, facts: &Facts<'_>) -> bool {
        let (rules, errors) = load(expression, "");
        assert!(errors.is_empty(), "{errors:?}");
        rules.denied().any(|rule| rule.condition.holds(facts))
    }

    #[test]
    fn conditions_on_paths_flags_and_the_caller_can_be_denied() {
        let facts = Facts {
            path: "/run/secrets/key",
            flags: 0o2,
            program: "/usr/bin/cat",
            uid: 1000,
            ..Facts::default()
        };
        for (expression, expected) in [
            (r#"open.file.path == "/run/secrets/key""#, true),
            (r#"open.file.path in [ "/a", ~"/run/**" ]"#, true),
            (r#"open.file.path =~ "/run/*""#, false),
            (
                r#"open.file.name == "key" && open.flags & (O_WRONLY|O_RDWR) > 0"#,
                true,
            ),
            (
                r#"open.file.name == "key" && open.flags & O_CREAT > 0"#,
                false,
            ),
            (
                r#"open.file.name == "key" && process.file.name != "cat""#,
                false,
            ),
            (
                r#"open.file.name == "key" && process.file.path not in [ "/usr/bin/vault" ]"#,
                true,
            ),
            (r#"open.file.name == "key" && process.uid != 0"#, true),
            (
                r#"open.file.name == "key" && process.uid in [ 0, 1 ]"#,
                false,
            ),
        ] {
            assert_eq!(refuses(expression, &facts), expected, "{expression}");
        }
        let exec = Facts {
            path: "/usr/bin/dash",
            called: "/bin/sh",
            ..Facts::default()
        };
        assert!(refuses(r#"exec.file.path == "/bin/sh""#, &exec));
        assert!(!refuses(r#"exec.file.path == "/bin/bash""#, &exec));
    }

    #[test]
    fn what_the_tracer_cannot_judge_is_refused_with_the_reason() {
        for (expression, word) in [
            (
                r#"connect.addr.port == 80"#,
                "connect events cannot be denied",
            ),
            (
                r#"open.file.path == "/a" && process.argv in ["-x"]"#,
                "more than comparisons",
            ),
            (
                r#"open.file.path == "/a" && process.comm == "x""#,
                "process.comm is not known",
            ),
            (
                r#"open.file.path == "/a" && process.ancestors.file.name == "sh""#,
                "more than",
            ),
            (r#"open.file.name =~ r"a+""#, "regular expressions"),
            (
                r#"process.uid == 0 && open.flags & O_CREAT > 0"#,
                "names no file",
            ),
            (
                r#"exec.file.path == "/a" && exec.args_flags in ["x"]"#,
                "more than",
            ),
        ] {
            let (rules, errors) = load(expression, "");
            assert!(
                errors.len() == 1 && errors[0].contains(word),
                "{expression}: {errors:?}"
            );
            assert_eq!(rules.denied().count(), 0);
        }
        let (_, errors) = load(
            r#"open.file.path == "/a""#,
            ", filter: 'open.flags & O_CREAT > 0'",
        );
        assert!(errors[0].contains("takes no filter"), "{errors:?}");
    }
}
