//! Patterns on paths.

use serde::{Deserialize, Serialize};

use super::wildcard::Wildcard;

/// A path with `*` inside its segments and possibly `**` as its last one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Glob {
    /// As it was written, but for the slash that it begins with.
    pattern: Box<str>,
    /// Literal beginning up to and including a slash: every match begins with it.
    directory: Box<str>,
    /// Segments behind it.
    segments: Box<[Wildcard]>,
    /// True when the last segment is `**`.
    anything_below: bool,
}

impl Glob {
    /// A glob.
    ///
    /// # Errors
    /// Why the pattern is none.
    pub fn new(pattern: &str) -> Result<Self, &'static str> {
        // `*/x` is another way to write `/*/x`.
        let pattern = match pattern == "*" || pattern == "**" || pattern.starts_with("*/") {
            true => format!("/{pattern}"),
            false => pattern.to_owned(),
        };
        let whole = pattern.clone().into_boxed_str();
        let (pattern, anything_below) = match pattern.strip_suffix("/**") {
            Some(rest) => (rest, true),
            None => (pattern.as_str(), false),
        };
        if pattern.contains("**") {
            return Err("`**` can only be the whole last part, as in /dir/**");
        }
        let literal = match pattern.find('*') {
            Some(star) => pattern[..star].rfind('/').map_or(0, |slash| slash + 1),
            None if anything_below => pattern.len(),
            None => pattern.rfind('/').map_or(0, |slash| slash + 1),
        };
        let (mut directory, rest) = (pattern[..literal].to_owned(), &pattern[literal..]);
        let mut segments: Vec<Wildcard> = rest
            .split('/')
            .map(|segment| Wildcard::new(segment, false))
            .collect();
        if anything_below && rest.is_empty() {
            directory.push('/');
            segments.clear();
        }
        Ok(Self {
            pattern: whole,
            directory: directory.into(),
            segments: segments.into(),
            anything_below,
        })
    }

    /// The whole pattern.
    pub fn pattern(&self) -> &str {
        &self.pattern
    }

    /// The directory (ending in a slash) that every match lies in.
    pub fn directory(&self) -> &str {
        &self.directory
    }

    /// Whether a path fits.
    pub fn matches(&self, path: &str) -> bool {
        let Some(rest) = path.strip_prefix(&*self.directory) else {
            return false;
        };
        if self.segments.is_empty() {
            return self.anything_below;
        }
        let mut parts = rest.split('/');
        for segment in &self.segments {
            match parts.next() {
                Some(part) if segment.matches(part) => {}
                _ => return false,
            }
        }
        // `**` stands for at least one more part, which may be empty.
        parts.next().is_some() == self.anything_below
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stays_inside_its_part_of_the_path() {
        let cases = [
            ("/etc/*", "/etc/passwd", true),
            ("/etc/*", "/etc/ssh/key", false),
            ("/etc/*", "/etc/", true),
            ("/etc/*", "/etc", false),
            ("/etc/**", "/etc/ssh/key", true),
            ("/etc/**", "/etc/", true),
            ("/etc/**", "/etc", false),
            ("/etc/**", "/etcetera/x", false),
            ("*/x", "/a/x", true),
            ("*/x", "/a/b/x", false),
            ("/home/*/.ssh/**", "/home/u/.ssh/id/a", true),
            ("/home/*/.ssh/**", "/home/u/.ssh", false),
            ("/home/*/.ssh/**", "/home/u/v/.ssh/a", false),
            ("/a*b/c*", "/axxb/c", true),
            ("/a*b/c*", "/axxb/d", false),
            ("/*", "/a", true),
            ("/**", "/a/b", true),
            ("/**", "", false),
            ("/proc/*/mem", "/proc/12/mem", true),
            ("*.so", "/a.so", false),
        ];
        for (pattern, path, expected) in cases {
            assert_eq!(
                Glob::new(pattern).unwrap().matches(path),
                expected,
                "{pattern} {path}"
            );
        }
    }

    #[test]
    fn two_stars_stand_alone_and_last() {
        for wrong in ["/etc/**/x", "/a**", "/a/b**", "/**/x", "/a***"] {
            assert!(Glob::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_directory_is_what_all_matches_share() {
        for (pattern, directory) in [
            ("/etc/**", "/etc/"),
            ("/etc/*", "/etc/"),
            ("/a/b*/c", "/a/"),
            ("*/x", "/"),
        ] {
            assert_eq!(Glob::new(pattern).unwrap().directory(), directory);
        }
    }
}
