//! The table of `semantics/table.txt`: expressions, and what they come to.

use std::sync::Arc;

use picket_rules::Catalogue;
use picket_rules::tools::eval::answer;
use serde_json::{Value, json};

#[test]
fn every_expression_of_the_table_comes_to_what_it_says() {
    let catalogue = Catalogue::from_json(include_str!("semantics/catalogue.json")).unwrap();
    let catalogue = Arc::new(catalogue);
    let (mut event, mut given) = (json!({}), json!({}));
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (index, line) in include_str!("semantics/table.txt").lines().enumerate() {
        let number = index + 1;
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(text) = line.strip_prefix("event ") {
            event = serde_json::from_str(text).unwrap_or_else(|error| panic!("{number}: {error}"));
            continue;
        }
        if let Some(text) = line.strip_prefix("given ") {
            given = serde_json::from_str(text).unwrap_or_else(|error| panic!("{number}: {error}"));
            continue;
        }
        let (expected, expression) = line.split_at_checked(10).unwrap_or((line, ""));
        let expression = expression.replace("\\n", "\n");
        let found = evaluate(&catalogue, &expression, &event, &given);
        count += 1;
        if found != expected.trim_end() {
            wrong.push(format!(
                "{number}: {expression}\n    expected {expected}, got {found}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 400, "{count} lines");
}

/// `true`, `false`, or `error` and where.
fn evaluate(catalogue: &Arc<Catalogue>, expression: &str, event: &Value, given: &Value) -> String {
    let mut request = json!({ "expr": expression, "event": event });
    for (key, value) in given.as_object().into_iter().flatten() {
        request[key] = value.clone();
    }
    let answer = answer(catalogue, &request.to_string(), 0);
    match (answer.result, answer.error) {
        (Some(result), None) => result.to_string(),
        (None, Some(_)) => format!("error {}", answer.column.unwrap_or_default()),
        other => panic!("{expression}: {other:?}"),
    }
}
