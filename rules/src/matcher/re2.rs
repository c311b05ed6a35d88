//! Regular expressions as RE2 and Go read them, written for the regex crate.
//!
//! The two agree on nearly everything, but rules were written for the former: there `\d`, `\w`,
//! `\s` and `\b` know ASCII only; a class holds no other class and no `&&`, `--` or `~~`; a brace
//! that repeats nothing stands for itself; `\<` is a character, `\Q…\E` a text and `\012` octal.

use std::iter::Peekable;
use std::str::Chars;

/// The expression in the regex crate's syntax. What is wrong with it stays wrong.
pub(crate) fn from_re2(expression: &str) -> String {
    let mut translator = Translator {
        rest: expression.chars().peekable(),
        out: String::with_capacity(expression.len() + 16),
    };
    while let Some(character) = translator.rest.next() {
        match character {
            '\\' => translator.escape(false),
            '[' => translator.class(),
            '{' => translator.brace(),
            other => translator.out.push(other),
        }
    }
    translator.out
}

const DIGIT: &str = "0-9";
const WORD: &str = "0-9A-Za-z_";
const SPACE: &str = r"\t\n\f\r ";

struct Translator<'a> {
    rest: Peekable<Chars<'a>>,
    out: String,
}

impl Translator<'_> {
    /// What stands behind a backslash.
    fn escape(&mut self, in_class: bool) {
        let Some(character) = self.rest.next() else {
            self.out.push('\\');
            return;
        };
        match character {
            'd' => self.perl(DIGIT, false, in_class),
            'D' => self.perl(DIGIT, true, in_class),
            'w' => self.perl(WORD, false, in_class),
            'W' => self.perl(WORD, true, in_class),
            's' => self.perl(SPACE, false, in_class),
            'S' => self.perl(SPACE, true, in_class),
            'b' if !in_class => self.out.push_str(r"(?-u:\b)"),
            '<' | '>' => self.out.push(character),
            'Q' if !in_class => self.quoted(),
            '0' => self.octal(0),
            // One digit alone would refer back to a group, which neither of the two can.
            '1'..='7'
                if self
                    .rest
                    .peek()
                    .is_some_and(|next| ('0'..='7').contains(next)) =>
            {
                self.octal(character as u32 - '0' as u32);
            }
            'p' | 'P' | 'x' => {
                self.out.extend(['\\', character]);
                if self.rest.next_if_eq(&'{').is_some() {
                    self.out.push('{');
                    for inside in self.rest.by_ref() {
                        self.out.push(inside);
                        if inside == '}' {
                            break;
                        }
                    }
                }
            }
            other => self.out.extend(['\\', other]),
        }
    }

    fn perl(&mut self, members: &str, negated: bool, in_class: bool) {
        match (in_class, negated) {
            (true, false) => self.out.push_str(members),
            (_, true) => self.out.push_str(&format!("[^{members}]")),
            (false, false) => self.out.push_str(&format!("[{members}]")),
        }
    }

    /// Up to two more octal digits.
    fn octal(&mut self, first: u32) {
        let mut value = first;
        for _ in 0..2 {
            let Some(digit) = self.rest.next_if(|next| ('0'..='7').contains(next)) else {
                break;
            };
            value = 8 * value + (digit as u32 - '0' as u32);
        }
        self.out.push_str(&format!(r"\x{{{value:x}}}"));
    }

    /// A text up to `\E`, or to the end.
    fn quoted(&mut self) {
        let rest: String = self.rest.clone().collect();
        let (text, end) = match rest.find(r"\E") {
            Some(at) => (&rest[..at], at + 2),
            None => (rest.as_str(), rest.len()),
        };
        self.out.push_str(&regex::escape(text));
        let skipped = rest[..end].chars().count();
        self.rest.by_ref().take(skipped).for_each(drop);
    }

    /// `{2}`, `{2,}`, `{2,3}`, or just a brace.
    fn brace(&mut self) {
        let mut ahead = self.rest.clone();
        let mut digits = || {
            let mut count = 0;
            while ahead.next_if(char::is_ascii_digit).is_some() {
                count += 1;
            }
            (count > 0, ahead.next())
        };
        let repeats = match digits() {
            (true, Some('}')) => true,
            (true, Some(',')) => digits().1 == Some('}'),
            _ => false,
        };
        self.out.push_str(if repeats { "{" } else { r"\{" });
    }

    /// A class in brackets, the first of which was read.
    fn class(&mut self) {
        self.out.push('[');
        if self.rest.next_if_eq(&'^').is_some() {
            self.out.push('^');
        }
        let mut is_first = true;
        while let Some(character) = self.rest.next() {
            match character {
                ']' if !is_first => {
                    self.out.push(']');
                    return;
                }
                '[' if self.named_class() => {}
                other => {
                    self.member(other);
                    // A range, unless the dash is the last in the class.
                    let mut ahead = self.rest.clone();
                    let is_range = ahead.next() == Some('-') && ahead.next() != Some(']');
                    if is_range && let (Some(_), Some(end)) = (self.rest.next(), self.rest.next()) {
                        self.out.push('-');
                        self.member(end);
                    }
                }
            }
            is_first = false;
        }
    }

    /// One character of a class, or the escape that begins with it.
    fn member(&mut self, character: char) {
        match character {
            '\\' => self.escape(true),
            '[' | ']' | '&' | '~' | '-' | '^' => self.out.extend(['\\', character]),
            other => self.out.push(other),
        }
    }

    /// `[:alpha:]`; the bracket in front was read.
    fn named_class(&mut self) -> bool {
        let rest: String = self.rest.clone().take(16).collect();
        let Some(name) = rest
            .strip_prefix(':')
            .and_then(|rest| rest.split_once(":]"))
        else {
            return false;
        };
        self.out.push_str(&format!("[:{}:]", name.0));
        self.rest
            .by_ref()
            .take(name.0.chars().count() + 3)
            .for_each(drop);
        true
    }
}

#[cfg(test)]
mod tests {
    use regex::Regex;

    use super::*;

    #[test]
    fn what_both_read_alike_stays_as_it_is() {
        for expression in [
            r"^(a|b)+?\.so(\.[0-9]+)*$",
            r"(?i)x{2,3}y{4}z{5,}",
            r"\x{1F600}\pL\p{Greek}[[:alpha:]_]\$\/\-",
            r"[^a-z]",
        ] {
            assert_eq!(from_re2(expression), expression);
        }
    }

    #[test]
    fn every_form_means_what_it_does_in_re2() {
        let cases = [
            (r"^\w+$", "abc_1", true),
            (r"^\w+$", "é", false),
            (r"^\W$", "é", true),
            (r"^\d$", "٣", false),
            (r"^\D$", "٣", true),
            (r"^\s$", "\u{a0}", false),
            (r"^\S$", "\u{a0}", true),
            (r"\bé", "é", false),
            (r"\bx", "a x", true),
            (r"^[\w.]+$", "a.b", true),
            (r"^[^\W]$", "a", true),
            (r"^[^\s]+$", "a b", false),
            (r"^[[]$", "[", true),
            (r"^[]a]+$", "]a", true),
            (r"^[^]]$", "]", false),
            (r"^[a&&b]+$", "&", true),
            (r"^[a~~b]$", "~", true),
            (r"^[a-]$", "-", true),
            (r"^[-a]$", "-", true),
            (r"^[+--]$", ",", true),
            (r"^[!-\\]$", "A", true),
            (r"^[\]]$", "]", true),
            (r"^[a^]$", "^", true),
            (r"^${jndi", "${jndi", false),
            (r"\${jndi", "x${jndi:", true),
            (r"{a", "{a", true),
            (r"a{,3}", "a{,3}", true),
            (r"^a{2}$", "aa", true),
            (r"a{x}", "a{x}", true),
            (r"\<a\>", "<a>", true),
            (r"^\Qa.b*\E+$", "a.b**", true),
            (r"\Q[", "[", true),
            (r"^\101\012$", "A\n", true),
            (r"^\0$", "\0", true),
            (r"^[\0-\101]$", "@", true),
            (r"(?i)^\w$", "K", true),
            (r"a}", "a}", true),
        ];
        for (expression, text, expected) in cases {
            let translated = from_re2(expression);
            let regex = Regex::new(&translated);
            let regex = regex.unwrap_or_else(|error| panic!("{expression}: {error}"));
            assert_eq!(
                regex.is_match(text),
                expected,
                "{expression} {text:?} → {translated}"
            );
        }
    }

    #[test]
    fn what_is_wrong_stays_wrong() {
        for expression in [r"(", r"[a", r"\", r"*", r"[z-a]", r"\1", r"(?P<n", r"\C"] {
            assert!(Regex::new(&from_re2(expression)).is_err(), "{expression}");
        }
    }
}
