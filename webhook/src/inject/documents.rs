//! YAML streams: documents are read one by one, and only changed ones are written anew.

use serde_json::Value;

use super::ManifestError;

/// Hands every document to `change`; writes those anew for which it returns true.
pub(super) fn rewrite(
    text: &str,
    mut change: impl FnMut(usize, &mut Value) -> bool,
) -> Result<String, ManifestError> {
    let mut output = String::with_capacity(text.len() * 2);
    for (index, part) in split(text).into_iter().enumerate() {
        output.push_str(part.separator);
        let document = index + 1;
        let error = |message: String| ManifestError { document, message };
        if !has_content(part.body) {
            output.push_str(part.body);
            continue;
        }
        let mut value = read(part.body).map_err(error)?;
        if change(document, &mut value) {
            output.push_str(leading_comments(part.body));
            output.push_str(&write(&value, Style::of(part.body)).map_err(error)?);
        } else {
            output.push_str(part.body);
        }
    }
    Ok(output)
}

/// Reads every document that has content, with its number.
pub(super) fn read_all(text: &str) -> Result<Vec<(usize, Value)>, ManifestError> {
    let mut values = Vec::new();
    rewrite(text, |document, value| {
        values.push((document, value.clone()));
        false
    })?;
    Ok(values)
}

struct Part<'t> {
    /// The line `---` before the document, if there is one.
    separator: &'t str,
    body: &'t str,
}

fn split(text: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut part = Part {
        separator: "",
        body: "",
    };
    let mut body_start = 0;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let end = at + line.len();
        if is_separator(line) {
            part.body = &text[body_start..at];
            if !(part.separator.is_empty() && part.body.is_empty()) {
                parts.push(part);
            }
            part = Part {
                separator: line,
                body: "",
            };
            body_start = end;
        }
        at = end;
    }
    part.body = &text[body_start..];
    parts.push(part);
    parts
}

fn is_separator(line: &str) -> bool {
    line.strip_prefix("---").is_some_and(|rest| {
        let rest = rest.trim();
        rest.is_empty() || rest.starts_with('#')
    })
}

/// Whether there is more than comments, and directives for the document behind them.
fn has_content(body: &str) -> bool {
    body.trim_start_matches(BYTE_ORDER_MARK)
        .lines()
        .any(|line| {
            let text = line.trim();
            !(text.is_empty() || text.starts_with('#') || line.starts_with('%'))
        })
}

/// Some editors put it at the start of a file.
const BYTE_ORDER_MARK: char = '\u{feff}';

fn leading_comments(body: &str) -> &str {
    let length = body
        .split_inclusive('\n')
        .take_while(|line| {
            let text = line.trim_start_matches(BYTE_ORDER_MARK);
            text.trim().is_empty() || text.starts_with('#')
        })
        .map(str::len)
        .sum();
    &body[..length]
}

/// Reads YAML as the Kubernetes tools do: `yes` and `on` are booleans, `0644` is octal. JSON is read
/// as JSON, which may hold characters that YAML has to escape.
fn read(text: &str) -> Result<Value, String> {
    if text.trim_start().starts_with('{')
        && let Ok(value) = serde_json::from_str(text)
    {
        return Ok(value);
    }
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

/// How a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Style {
    /// As JSON.
    json: bool,
    /// With the line ends of Windows.
    carriage_returns: bool,
}

impl Style {
    /// As this one is.
    fn of(body: &str) -> Self {
        Self {
            json: serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok(),
            carriage_returns: body.contains("\r\n"),
        }
    }
}

fn write(value: &Value, style: Style) -> Result<String, String> {
    let text = if style.json {
        serde_json::to_string_pretty(value).map_err(|error| error.to_string())
    } else {
        // Long lines are not folded: a status annotation is one line of JSON.
        let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
        serde_saphyr::to_string_with_options(value, options).map_err(|error| error.to_string())
    };
    let mut text = text?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    if style.carriage_returns {
        text = text.replace('\n', "\r\n");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_does_not_change_stays_byte_for_byte() {
        for text in [
            "",
            "# only a comment\n",
            "a: 1 # one\n---\n# nothing\n---\nb:   2\n",
            "---\na: 1\n--- # second\nb: 2",
            "a: |\n  ---\n  text\n",
        ] {
            assert_eq!(rewrite(text, |_, _| false).unwrap(), text);
        }
    }

    #[test]
    fn a_changed_document_keeps_its_order_and_first_comments() {
        let text = "a: 1 # stays\n---\n# Source: chart/web.yaml\n\nz: 1 # goes\nb: 2\n---\nc: 3\n";
        let changed = rewrite(text, |document, value| {
            value["new"] = json!(true);
            document == 2
        });
        assert_eq!(
            changed.unwrap(),
            "a: 1 # stays\n---\n# Source: chart/web.yaml\n\nz: 1\nb: 2\nnew: true\n---\nc: 3\n"
        );
    }

    #[test]
    fn values_survive_being_written() {
        let value = json!({
            "words": ["yes", "no", "on", "null", "~", "0644", "1e3", "1_000", "12:30", "", " ", "- a", "a: b", "#x", "$(X)", "é", "=", "<<"],
            "script": "#!/bin/sh\nset -e\n\n  echo \"$1\"  \n",
            "trailing": "a\n\n",
            "long": "word ".repeat(100),
            "numbers": [0, -1, 1.5, 9_007_199_254_740_993_i64],
            "empty": [{}, [], null, ""],
            "tab": "a\tb",
            "crlf": "a\r\nb",
        });
        for (json, carriage_returns) in [(false, false), (false, true), (true, true)] {
            let style = Style {
                json,
                carriage_returns,
            };
            let text = write(&value, style).unwrap();
            assert_eq!(read(&text).unwrap(), value, "{text}");
            assert_eq!(Style::of(&text), style, "{text}");
        }
    }

    #[test]
    fn a_changed_document_is_written_as_it_was() {
        for (text, expected) in [
            (
                "a: 1\r\n---\r\nb: 2\r\n",
                "a: 1\r\n---\r\nb: 2\r\nnew: true\r\n",
            ),
            ("{\"b\": 2}", "{\n  \"b\": 2,\n  \"new\": true\n}\n"),
            (
                "\u{feff}# by an editor\nb: 2\n",
                "\u{feff}# by an editor\nb: 2\nnew: true\n",
            ),
            (
                "%YAML 1.2\n---\nb: 2\n...\n",
                "%YAML 1.2\n---\nb: 2\nnew: true\n",
            ),
            (
                "null\n---\n~\n---\nb: 2\n",
                "null\n---\n~\n---\nb: 2\nnew: true\n",
            ),
        ] {
            let changed = rewrite(text, |_, value| {
                let changes = value["b"] == 2;
                if changes {
                    value["new"] = json!(true);
                }
                changes
            });
            assert_eq!(changed.unwrap(), expected);
        }
    }

    #[test]
    fn anchors_and_merge_keys_become_what_they_stand_for() {
        let text = "base: &base {a: 1, b: 2}\nown: {<<: *base, b: 3}\nlist: [*base]\n";
        let value =
            json!({"base": {"a": 1, "b": 2}, "own": {"a": 1, "b": 3}, "list": [{"a": 1, "b": 2}]});
        assert_eq!(read(text).unwrap(), value);
    }

    #[test]
    fn read_as_the_kubernetes_tools_do() {
        let value = read("mode: 0644\nflag: yes\nname: \"yes\"\nversion: \"1.10\"\n").unwrap();
        assert_eq!(
            value,
            json!({"mode": 420, "flag": true, "name": "yes", "version": "1.10"})
        );
    }

    #[test]
    fn a_broken_document_is_named() {
        let error = rewrite("a: 1\n---\nb: [\n", |_, _| false).unwrap_err();
        assert_eq!(error.document, 2);
        assert!(error.message.contains("line"), "{error}");
    }
}
