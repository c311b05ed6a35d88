//! `picket rules eval`: single expressions against written events, one JSON object a line.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value as Json};

use super::event::{WrittenEvent, as_int};
use crate::catalogue::Catalogue;
use crate::compile::{Environment, Macro, MacroTable, Work, Zeros, compile, expand};
use crate::eval::Frame;
use crate::store::Variables;
use crate::syntax::{ExpressionError, parse_expression, parse_macro};
use crate::value::Scope;
use crate::variable::{Stored, VariableInfo, VariableTable};

/// A line of input.
#[derive(Debug, Deserialize)]
struct Request {
    expr: String,
    event: Option<Map<String, Json>>,
    variables: Option<Map<String, Json>>,
    macros: Option<Map<String, Json>>,
}

/// A line of output: `{"result": true}`, or `{"error": "…", "column": 7}`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// What the expression came to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result: Option<bool>,
    /// Why it could not be evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// Where in the expression, from 1; absent when the error is not in the expression.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub column: Option<usize>,
    /// Line of an expression of several lines.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<usize>,
}

impl Answer {
    /// The answer to a line that holds no expression.
    pub fn fault(message: impl ToString) -> Self {
        Self {
            error: Some(message.to_string()),
            ..Self::default()
        }
    }

    fn in_expression(expression: &str, error: &ExpressionError) -> Self {
        let position = error.position(expression);
        let mut message = error.problem.to_string();
        if let Some(suggestion) = &error.suggestion {
            message.push_str(&format!("; did you mean {suggestion}?"));
        }
        Self {
            error: Some(message),
            column: Some(position.column),
            line: (position.line > 1).then_some(position.line),
            result: None,
        }
    }
}

/// Answers one line. Never fails: what is wrong is in the answer.
///
/// Durations are held against the event's `now` where it has one (nanoseconds since the epoch),
/// else against its `event.timestamp`, else against `now`.
pub fn answer(catalogue: &Arc<Catalogue>, line: &str, now: i64) -> Answer {
    let line = line.trim();
    if !line.starts_with('{') {
        return Answer::fault("not a request: expected an object such as {\"expr\": \"true\"}");
    }
    let request: Request = match serde_json::from_str(line) {
        Ok(request) => request,
        Err(error) => return Answer::fault(format!("not a request: {error}")),
    };
    let event = match WrittenEvent::read_at(catalogue, &request.event.unwrap_or_default(), now) {
        Ok(event) => event,
        Err(error) => return Answer::fault(error),
    };
    let (table, values) = match variables(&request.variables.unwrap_or_default()) {
        Ok(variables) => variables,
        Err(message) => return Answer::fault(message),
    };
    let mut macros = MacroTable::new();
    for (name, body) in &request.macros.unwrap_or_default() {
        match read_macro(body) {
            Ok(body) => macros.insert(name.clone(), body),
            Err(message) => return Answer::fault(format!("macro {name}: {message}")),
        };
    }
    let work = Work::default();
    let environment = Environment {
        catalogue,
        macros: &macros,
        variables: &table,
        rule_tags: None,
        zeros: Zeros::None,
        work: &work,
    };
    let programs = parse_expression(&request.expr)
        .and_then(|node| expand(catalogue, &request.expr, node))
        .and_then(|expanded| {
            expanded
                .iter()
                .map(|one| compile(environment, &one.node))
                .collect::<Result<Vec<_>, _>>()
        });
    let programs = match programs {
        Ok(programs) => programs,
        Err(error) => return Answer::in_expression(&request.expr, &error),
    };
    let mut store = Variables::new(Arc::new(table));
    for (id, scope, value) in values {
        let key = match scope {
            Scope::Global => 0,
            Scope::Process => event.process,
            Scope::Container => event.container,
        };
        store.set(id, key, value, false, event.now);
    }
    // Of an expanded pseudo-field, the expression for the event's own type counts.
    let result = programs.iter().any(|one| {
        let fits = match (one.event, event.event_type()) {
            (Some(own), Some(given)) => own == given || programs.len() == 1,
            _ => true,
        };
        fits && Frame::new(&event, &store).run(&one.program)
    });
    Answer {
        result: Some(result),
        ..Answer::default()
    }
}

fn read_macro(body: &Json) -> Result<Macro, String> {
    let expression = |text: &str| {
        parse_macro(text)
            .map(Macro::Expression)
            .map_err(|error| error.to_string())
    };
    match body {
        Json::String(text) => expression(text),
        // As they are written in an expression.
        Json::Number(_) | Json::Bool(_) => expression(&body.to_string()),
        Json::Array(values) if values.first().is_some_and(Json::is_i64) => {
            expression(&body.to_string())
        }
        Json::Array(values) => {
            let texts = values
                .iter()
                .map(|value| value.as_str().map(str::to_owned))
                .collect();
            let texts: Option<Vec<String>> = texts;
            texts
                .map(|values| Macro::Values {
                    values,
                    lists: Vec::new(),
                })
                .ok_or_else(|| "expected texts, or numbers".to_owned())
        }
        _ => Err("expected an expression, or a list of texts or numbers".to_owned()),
    }
}

type Values = Vec<(crate::variable::VariableId, Scope, Stored)>;

/// Variables with the types of their values.
fn variables(given: &Map<String, Json>) -> Result<(VariableTable, Values), String> {
    let mut table = VariableTable::default();
    let mut values = Vec::new();
    for (name, value) in given {
        let stored = stored(value)
            .ok_or_else(|| format!("variable {name}: {value} cannot be kept in a variable"))?;
        let scope = name
            .split_once('.')
            .and_then(|(scope, _)| Scope::from_name(scope));
        let info = VariableInfo {
            name: name.clone(),
            scope: scope.unwrap_or(Scope::Global),
            value_type: stored.value_type(),
            inherited: false,
            ttl: None,
            size: usize::MAX,
            private: false,
            default: None,
        };
        let scope = info.scope;
        let id = table.insert(info).ok_or("too many variables")?;
        values.push((id, scope, stored));
    }
    Ok((table, values))
}

fn stored(value: &Json) -> Option<Stored> {
    Some(match value {
        Json::Bool(value) => Stored::Bool(*value),
        Json::Number(_) => Stored::Int(as_int(value)?),
        Json::String(text) => Stored::Text(text.clone()),
        Json::Array(values) if values.first().is_some_and(Json::is_number) => {
            Stored::Ints(values.iter().map(as_int).collect::<Option<_>>()?)
        }
        Json::Array(values) => {
            let texts = values.iter().map(|value| value.as_str().map(str::to_owned));
            Stored::Texts(texts.collect::<Option<_>>()?)
        }
        Json::Null | Json::Object(_) => return None,
    })
}
