//! Lexer, parser, type checker: any text is an expression or a mistake with a place.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_rules::Catalogue;
use picket_rules::tools::eval::answer;

fuzz_target!(|text: &str| {
    let Ok(text) = serde_text(text) else { return };
    let line = format!("{{\"expr\": {text}, \"event\": {{\"type\": \"open\"}}}}");
    let answer = answer(&Catalogue::standard(), &line, 0);
    assert!(answer.result.is_some() != answer.error.is_some());
});

/// The text as a JSON string.
fn serde_text(text: &str) -> Result<String, std::fmt::Error> {
    use std::fmt::Write;
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            other if u32::from(other) < 32 => write!(out, "\\u{:04x}", u32::from(other))?,
            other => out.push(other),
        }
    }
    out.push('"');
    Ok(out)
}
