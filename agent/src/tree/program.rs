//! What a process runs, with everything that rules ask of it worked out once per `execve`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use picket_events::Image;
use smol_str::SmolStr;

use super::environment::Environment;

/// Most bytes of arguments that are kept of one program.
const MAX_ARGUMENT_BYTES: usize = 32 * 1024;
/// Bytes of arguments that are kept when the tree is full of living processes.
const CUT_ARGUMENT_BYTES: usize = 256;
/// Most bytes of any single other text (a path, a name) that are kept.
const MAX_TEXT_BYTES: usize = 8 * 1024;

/// Bytes that the programs of one tree hold together.
///
/// Programs are shared by the processes that inherited them, so only their own end tells
/// when their bytes are free again.
#[derive(Debug, Clone, Default)]
pub(super) struct Budget(Arc<AtomicUsize>);

impl Budget {
    /// Bytes in use.
    pub(super) fn used(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn take(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn give_back(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// An [`Image`] and the values that SECL derives from it.
#[derive(Debug, Default)]
pub struct Program {
    /// What was executed.
    pub image: Image,
    /// Arguments without `argv[0]`, joined by spaces (`args`).
    pub args: String,
    /// Names of flags (`args_flags`).
    pub flags: Vec<String>,
    /// Options as `name=value` (`args_options`).
    pub options: Vec<String>,
    environment: Arc<Environment>,
    bytes: usize,
    budget: Budget,
}

impl Program {
    /// A program for evaluation only, outside any tree's budget.
    pub fn new(image: Image) -> Self {
        let budget = Budget::default();
        let environment = Environment::within(&image.envs, &budget);
        Self::within(image, Arc::new(environment), &budget)
    }

    /// A program that counts against `budget` as long as it lives.
    pub(super) fn within(mut image: Image, environment: Arc<Environment>, budget: &Budget) -> Self {
        bound(&mut image);
        let arguments = image.argv.get(1..).unwrap_or_default();
        let mut program = Self {
            args: arguments.join(" "),
            flags: flags(arguments),
            options: options(arguments),
            environment,
            bytes: 0,
            budget: budget.clone(),
            image,
        };
        program.bytes = program.size();
        budget.take(program.bytes);
        program
    }

    /// Environment variables by name, and as `NAME=value` where the tracer tells the value
    /// (`envs`).
    pub fn environment(&self) -> &[String] {
        &self.environment.entries
    }

    /// `argv[0]`, or an empty string.
    pub fn argv0(&self) -> &str {
        self.image.argv.first().map_or("", String::as_str)
    }

    /// Arguments without `argv[0]`.
    pub fn arguments(&self) -> &[String] {
        self.image.argv.get(1..).unwrap_or_default()
    }

    fn size(&self) -> usize {
        let lists = [&self.image.argv, &self.flags, &self.options];
        let texts: usize = lists
            .into_iter()
            .flatten()
            .map(|text| text.capacity() + size_of::<String>())
            .sum();
        texts + self.args.capacity() + self.image.file.path.capacity() + size_of::<Self>()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

/// Cuts what is too long to be kept, and says so in the flags of the image.
fn bound(image: &mut Image) {
    image.argv_truncated |= bound_list(&mut image.argv, MAX_ARGUMENT_BYTES);
    let files = [Some(&mut image.file), image.interpreter.as_mut()];
    for file in files.into_iter().flatten() {
        bound_text(&mut file.path);
        for text in [&mut file.name, &mut file.filesystem] {
            bound_name(text);
        }
    }
    for text in [&mut image.comm, &mut image.tty, &mut image.cwd] {
        bound_text(text);
    }
}

/// Leaves only what says which program it is.
pub(super) fn cut(image: &mut Image) {
    image.argv_truncated |= bound_list(&mut image.argv, CUT_ARGUMENT_BYTES);
    image.envs_truncated |= !image.envs.is_empty();
    image.envs = Arc::default();
}

fn bound_list(texts: &mut Vec<String>, limit: usize) -> bool {
    let mut room = limit;
    for (index, text) in texts.iter_mut().enumerate() {
        // An empty text costs its header, too.
        let cost = text.len() + size_of::<String>();
        if cost > room {
            text.truncate(text.floor_char_boundary(room.saturating_sub(size_of::<String>())));
            text.shrink_to_fit();
            texts.truncate(index + 1);
            texts.shrink_to_fit();
            return true;
        }
        room -= cost;
    }
    false
}

fn bound_text(text: &mut String) {
    if text.len() > MAX_TEXT_BYTES {
        text.truncate(text.floor_char_boundary(MAX_TEXT_BYTES));
        text.shrink_to_fit();
    }
}

fn bound_name(text: &mut SmolStr) {
    if text.len() > MAX_TEXT_BYTES {
        *text = text[..text.floor_char_boundary(MAX_TEXT_BYTES)].into();
    }
}

/// The name behind one or two dashes, and whether there were two.
fn dashed(argument: &str) -> Option<(&str, bool)> {
    let name = argument.strip_prefix('-')?;
    match name.strip_prefix('-') {
        Some(long) => Some((long, true)),
        None => Some((name, false)),
    }
    .filter(|(name, _)| !name.is_empty())
}

/// `-abc` gives `a`, `b`, `c` and `abc`; `--name` gives `name`; what has a value gives none.
fn flags(arguments: &[String]) -> Vec<String> {
    let mut flags = Vec::new();
    for (name, long) in arguments.iter().filter_map(|argument| dashed(argument)) {
        if !long && name.chars().all(|c| c.is_ascii_alphanumeric()) {
            flags.extend(name.chars().map(String::from));
            if name.len() == 1 {
                continue;
            }
        }
        if !name.contains('=') {
            flags.push(name.to_owned());
        }
    }
    flags
}

/// `-k v`, `--k v` and `--k=v` all give `k=v`.
fn options(arguments: &[String]) -> Vec<String> {
    let mut options = Vec::new();
    for (index, argument) in arguments.iter().enumerate() {
        let Some((name, _)) = dashed(argument) else {
            continue;
        };
        if name.contains('=') {
            options.push(name.to_owned());
        } else if let Some(value) = arguments
            .get(index + 1)
            .filter(|next| !next.starts_with('-'))
        {
            options.push(format!("{name}={value}"));
        }
    }
    options
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(argv: &[&str]) -> Program {
        let argv = argv.iter().map(|&text| text.to_owned()).collect();
        Program::new(Image {
            argv,
            ..Image::default()
        })
    }

    /// Arguments, and what is derived from them: `args`, `args_flags`, `args_options`.
    type Case<'a> = (&'a [&'a str], &'a str, &'a [&'a str], &'a [&'a str]);

    #[test]
    fn args_flags_and_options_are_derived_from_argv() {
        let cases: &[Case<'_>] = &[
            (&["ls"], "", &[], &[]),
            (
                &["ls", "-la", "/tmp"],
                "-la /tmp",
                &["l", "a", "la"],
                &["la=/tmp"],
            ),
            (&["a", "--name", "v"], "--name v", &["name"], &["name=v"]),
            (&["a", "--name=v"], "--name=v", &[], &["name=v"]),
            (&["a", "-k=v"], "-k=v", &[], &["k=v"]),
            (&["a", "-k", "-x"], "-k -x", &["k", "x"], &[]),
            (&["a", "-", "--"], "- --", &[], &[]),
            (&["a", "-a+b"], "-a+b", &["a+b"], &[]),
        ];
        for (argv, args, flags, options) in cases {
            let program = program(argv);
            assert_eq!(program.args, *args, "args of {argv:?}");
            assert_eq!(program.flags, *flags, "flags of {argv:?}");
            assert_eq!(program.options, *options, "options of {argv:?}");
        }
    }

    #[test]
    fn an_endless_argv_is_cut_and_flagged() {
        let argv = vec![String::new(); 100_000];
        let program = Program::new(Image {
            argv,
            ..Image::default()
        });
        assert!(program.image.argv_truncated);
        assert!(
            program.size() < 4 * MAX_ARGUMENT_BYTES,
            "{} bytes",
            program.size()
        );
        let argv = vec!["ä".repeat(100_000)];
        let program = Program::new(Image {
            argv,
            ..Image::default()
        });
        assert!(program.image.argv_truncated && program.image.argv[0].len() < MAX_ARGUMENT_BYTES);
    }

    #[test]
    fn the_budget_is_given_back() {
        let budget = Budget::default();
        let first = Arc::new(Program::within(Image::default(), Arc::default(), &budget));
        let second = Arc::clone(&first);
        drop(first);
        assert!(budget.used() > 0);
        drop(second);
        assert_eq!(budget.used(), 0);
    }
}
