//! Shows what injection changed, as a person reads it: a diff of two YAML texts.

use similar::{ChangeTag, TextDiff};

use crate::terminal::Style;

/// A unified diff with three lines of context.
pub(crate) fn render(before: &str, after: &str, style: Style) -> String {
    let diff = TextDiff::from_lines(before, after);
    let mut out = String::new();
    for (index, group) in diff.grouped_ops(3).iter().enumerate() {
        if index > 0 {
            out.push_str(&style.dim("  ⋮\n"));
        }
        for change in group
            .iter()
            .flat_map(|operation| diff.iter_changes(operation))
        {
            let line = change.value().trim_end_matches('\n');
            out.push_str(&match change.tag() {
                ChangeTag::Equal => format!("  {line}\n"),
                ChangeTag::Insert => style.green(&format!("+ {line}")) + "\n",
                ChangeTag::Delete => style.red(&format!("- {line}")) + "\n",
            });
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn additions_and_removals_are_marked() {
        let shown = render("a\nb\nc\n", "a\nc\nd\n", Style::PLAIN);
        assert_eq!(shown, "  a\n- b\n  c\n+ d\n");
    }
}
