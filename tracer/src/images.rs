//! Programs as they are kept: one copy of each, however many processes run it. The names of the
//! environment alone take kilobytes, and both the table of processes and what the agent was told
//! hold each process's program.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::rc::{Rc, Weak};

use picket_events::Image;

/// Entries at which those that nobody holds any more are looked for.
const SWEEP_FIRST: usize = 64;

/// A program as it is kept.
#[derive(Debug, Default)]
pub(crate) struct Program {
    /// Without its environment.
    image: Image,
    /// Mostly the same for all of a container.
    envs: Rc<Vec<String>>,
}

impl Program {
    /// Its path, and the one that it was called by where that is another.
    pub(crate) fn paths(&self) -> (&str, &str) {
        (&self.image.file.path, &self.image.called)
    }

    /// In full.
    pub(crate) fn image(&self) -> Image {
        Image {
            envs: Vec::clone(&self.envs),
            ..self.image.clone()
        }
    }
}

/// Things that are held elsewhere, by the hash of what they hold.
type Held<T> = RefCell<HashMap<u64, Weak<T>>>;

/// The programs that are kept somewhere.
#[derive(Debug, Default)]
pub(crate) struct Images {
    programs: Held<Program>,
    environments: Held<Vec<String>>,
}

impl Images {
    /// The kept copy of a program: this one, unless there is one.
    pub(crate) fn share(&self, mut image: Image) -> Rc<Program> {
        let envs = std::mem::take(&mut image.envs);
        let same = |held: &Vec<String>| *held == envs;
        let envs = match find(&self.environments, hash(&envs), same) {
            Some(found) => found,
            None => hold(&self.environments, hash(&envs), Rc::new(envs)),
        };
        let named = (image.file.path.as_str(), image.file.inode, &image.argv);
        let key = hash(&(named, &image.cwd, &image.called, Rc::as_ptr(&envs)));
        let same = |held: &Program| Rc::ptr_eq(&held.envs, &envs) && held.image == image;
        match find(&self.programs, key, same) {
            Some(found) => found,
            None => hold(&self.programs, key, Rc::new(Program { image, envs })),
        }
    }
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

fn find<T>(held: &Held<T>, key: u64, same: impl Fn(&T) -> bool) -> Option<Rc<T>> {
    let found = held.borrow().get(&key).and_then(Weak::upgrade)?;
    same(&found).then_some(found)
}

fn hold<T>(held: &Held<T>, key: u64, value: Rc<T>) -> Rc<T> {
    let mut held = held.borrow_mut();
    // A weak reference keeps the memory of what it is to: none may be left behind for long.
    if held.len() >= SWEEP_FIRST && held.len() == held.capacity() {
        held.retain(|_, value| value.strong_count() > 0);
    }
    held.insert(key, Rc::downgrade(&value));
    value
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(argument: &str) -> Image {
        Image {
            argv: vec![argument.to_owned()],
            envs: vec!["PATH".to_owned()],
            ..Image::default()
        }
    }

    #[test]
    fn equal_programs_are_kept_once() {
        let images = Images::default();
        let one = images.share(image("a"));
        assert_eq!(one.image(), image("a"));
        assert!(Rc::ptr_eq(&one, &images.share(image("a"))));
        let other = images.share(image("b"));
        assert!(!Rc::ptr_eq(&one, &other) && Rc::ptr_eq(&one.envs, &other.envs));
        // Told apart although what they are found by is the same.
        let mut other = image("a");
        other.tty = "pts/0".to_owned();
        assert_eq!(images.share(other.clone()).image(), other);
    }

    #[test]
    fn what_nobody_runs_is_forgotten() {
        let images = Images::default();
        for number in 0..10_000 {
            images.share(image(&number.to_string()));
        }
        assert!(images.programs.borrow().len() < 1000);
    }
}
