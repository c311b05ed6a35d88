//! Who may have read a file that nobody has open any more: a program that was started a moment ago
//! with the file's name among its arguments.

use std::collections::HashSet;

use picket_events::text;

use super::opens::KEPT_FOR;
use crate::decode::Located;
use crate::resolve::Root;
use crate::sys::poll;
use crate::watched::WatchedFile;
use crate::worker::Worker;

/// How long ago its program may have been started, nanoseconds.
const STARTED_WITHIN: u64 = KEPT_FOR * 1_000_000;
/// Programs and arguments of each that are looked at, at most.
const PROGRAMS_MAX: usize = 32;
const ARGUMENTS_MAX: usize = 64;

impl Worker<'_> {
    /// The one living process that was started just now with this file among its arguments, has
    /// no child that may have read it instead, and was not told to have opened it already. `None`
    /// where there is none, or more than one.
    pub(super) fn started_for(&mut self, file: &WatchedFile) -> Option<u32> {
        let mut found = self.starts_for(file).into_iter();
        found.next().filter(|_| found.next().is_none())
    }

    fn starts_for(&mut self, file: &WatchedFile) -> Vec<u32> {
        self.settle_every_exec();
        let since = poll::now().saturating_sub(STARTED_WITHIN);
        let parents: HashSet<u32> = self.processes.all().map(|entry| entry.parent).collect();
        let recent = self
            .processes
            .all()
            .filter(|entry| entry.executed_at >= since && !parents.contains(&entry.pid));
        let mut recent: Vec<_> = recent.collect();
        recent.sort_unstable_by_key(|entry| std::cmp::Reverse(entry.executed_at));
        recent.truncate(PROGRAMS_MAX);
        let wanted = (file.device, file.inode);
        let name = text::from_bytes(&file.path);
        let mut found = Vec::new();
        for entry in recent {
            let is_told = |reads: &super::Reads| reads.opens.are_of(entry.pid, wanted);
            if self.reads.as_ref().is_some_and(is_told) {
                continue;
            }
            self.start.board.is_about(entry.pid);
            let view = entry.view(entry.pid);
            let arguments = || entry.image.argv.iter().skip(1).take(ARGUMENTS_MAX);
            if matches!(view.root, Root::Ours) && arguments().any(|text| mentions(text, &name)) {
                found.push(entry.pid);
                continue;
            }
            let paths = arguments().flat_map(|argument| paths(argument));
            let mut paths = paths.map(|path| absolute(view.root, &entry.image.cwd, path));
            let is_named = paths.any(|path| {
                // Its name may lead elsewhere by now, and its files may be others than ours.
                if matches!(view.root, Root::Ours) && without_dots(&path) == name {
                    return true;
                }
                let at = Located {
                    path: path.into_bytes(),
                    descriptor: None,
                    follow: true,
                    fault: None,
                    below: None,
                };
                let (_, now) = self.looks.look(&view, &at, &self.mounts);
                now.metadata
                    .is_some_and(|now| (now.device, now.inode) == wanted)
            });
            if is_named {
                found.push(entry.pid);
            }
        }
        found
    }
}

/// What of an argument may be a path: all of it, what follows on `=` or `@` (`--file=PATH`,
/// `-d@PATH`), or on the letter of an option (`-fPATH`).
fn paths(argument: &str) -> impl Iterator<Item = &str> {
    let behind = |mark| argument.split_once(mark).map(|(_, path)| path);
    let letter = argument.strip_prefix('-').and_then(|rest| {
        let mut letters = rest.chars();
        letters.next().filter(|letter| letter.is_alphanumeric())?;
        Some(letters.as_str())
    });
    let whole = (!argument.starts_with('-')).then_some(argument);
    let all = [whole, behind('='), behind('@'), letter];
    all.into_iter().flatten().filter(|path| !path.is_empty())
}

/// Whether a path stands in an argument as a whole, such as in a program of one line
/// (`python3 -c 'open("PATH")'`).
fn mentions(argument: &str, path: &str) -> bool {
    let goes_on = |next: Option<char>| {
        next.is_some_and(|next| next.is_alphanumeric() || "/._-+~".contains(next))
    };
    argument.match_indices(path).any(|(at, _)| {
        let (before, behind) = (&argument[..at], &argument[at + path.len()..]);
        !goes_on(before.chars().next_back()) && !goes_on(behind.chars().next())
    })
}

/// A path that a program was given, in our root.
fn absolute(root: &Root, directory: &str, path: &str) -> String {
    match path.starts_with('/') {
        true => text::from_bytes(&root.unstripped(path.as_bytes())),
        false => format!("{directory}/{path}"),
    }
}

/// A path without `.`, `..` and empty parts, as it reads: where no link is on the way, that is the
/// same file.
fn without_dots(path: &str) -> String {
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_in_an_argument_as_programs_take_them() {
        for (argument, expected) in [
            ("/etc/shadow", &["/etc/shadow"][..]),
            ("shadow", &["shadow"]),
            ("--file=/etc/shadow", &["/etc/shadow"]),
            ("if=shadow", &["if=shadow", "shadow"]),
            ("@shadow", &["@shadow", "shadow"]),
            ("-f/etc/shadow", &["/etc/shadow"]),
            ("-d@key", &["key", "@key"]),
            ("-", &[]),
            ("--", &[]),
            ("-c", &[]),
            ("", &[]),
        ] {
            let found: Vec<_> = paths(argument).collect();
            assert_eq!(found, expected, "{argument}");
        }
    }

    #[test]
    fn a_path_stands_in_a_program_of_one_line_as_a_whole_or_not() {
        for (argument, expected) in [
            (r#"print(open("/etc/shadow").read())"#, true),
            ("$x = </etc/shadow>", true),
            ("/etc/shadow", true),
            ("--file=/etc/shadow", true),
            ("/etc/shadow-", false),
            ("/etc/shadow.old", false),
            ("/srv/etc/shadow", false),
            ("/etc/shadows and /etc/shadow", true),
            ("ü/etc/shadowü", false),
            ("shadow", false),
            ("", false),
        ] {
            assert_eq!(mentions(argument, "/etc/shadow"), expected, "{argument}");
        }
    }

    #[test]
    fn paths_are_compared_without_what_does_not_matter() {
        for (directory, path, expected) in [
            ("/etc", "shadow", "/etc/shadow"),
            ("/etc", "./shadow", "/etc/shadow"),
            ("/etc/ssh", "../shadow", "/etc/shadow"),
            ("/tmp", "/etc//./shadow", "/etc/shadow"),
            ("/", "../../etc/shadow", "/etc/shadow"),
            ("", "/", "/"),
        ] {
            assert_eq!(
                without_dots(&absolute(&Root::Ours, directory, path)),
                expected
            );
        }
    }
}
