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
        let has_content = part.body.lines().any(|line| {
            let line = line.trim();
            !line.is_empty() && !line.starts_with('#')
        });
        if !has_content {
            output.push_str(part.body);
            continue;
        }
        let mut value = read(part.body).map_err(error)?;
        if change(document, &mut value) {
            output.push_str(leading_comments(part.body));
            output.push_str(&write(&value).map_err(error)?);
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

fn leading_comments(body: &str) -> &str {
    let length = body
        .split_inclusive('\n')
        .take_while(|line| line.trim().is_empty() || line.starts_with('#'))
        .map(str::len)
        .sum();
    &body[..length]
}

/// Reads YAML as the Kubernetes tools do: `yes` and `on` are booleans, `0644` is octal.
fn read(text: &str) -> Result<Value, String> {
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

fn write(value: &Value) -> Result<String, String> {
    // Long lines are not folded: a status annotation is one line of JSON.
    let options = serde_saphyr::ser_options! { folded_wrap_chars: usize::MAX };
    let mut text =
        serde_saphyr::to_string_with_options(value, options).map_err(|error| error.to_string())?;
    if !text.ends_with('\n') {
        text.push('\n');
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
        assert_eq!(read(&write(&value).unwrap()).unwrap(), value);
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
