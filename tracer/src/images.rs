//! Programs as they are kept: one copy of each, however many processes run it. The names of the
//! environment alone take kilobytes, and both the table of processes and what the agent was told
//! hold each process's program.

use std::cell::RefCell;
use std::collections::HashMap;
use std::hash::{BuildHasher, DefaultHasher, Hash, Hasher, RandomState};
use std::rc::{Rc, Weak};
use std::sync::{Arc, Weak as ArcWeak};

use picket_events::Image;

/// Entries at which those that nobody holds any more are looked for.
const SWEEP_FIRST: usize = 64;

/// The programs that are kept somewhere, by the hash of what they are.
#[derive(Debug, Default)]
pub(crate) struct Images(RefCell<HashMap<u64, Weak<Image>>>);

impl Images {
    /// The kept copy of a program: one of this, unless there is one.
    pub(crate) fn share(&self, image: &Image) -> Rc<Image> {
        let named = (image.file.path.as_str(), image.file.inode, &image.argv);
        let envs = Arc::as_ptr(&image.envs);
        let key = hash(&(named, &image.cwd, &image.called, envs));
        let mut held = self.0.borrow_mut();
        let found = held.get(&key).and_then(Weak::upgrade);
        if let Some(found) = found.filter(|found| **found == *image) {
            return found;
        }
        let image = Rc::new(image.clone());
        // A weak reference keeps the memory of what it is to: none may be left behind for long.
        if is_full(&held) {
            held.retain(|_, image| image.strong_count() > 0);
        }
        held.insert(key, Rc::downgrade(&image));
        image
    }
}

/// Environments that are kept somewhere: mostly it is the same one for all of a container.
#[derive(Debug, Default)]
pub(crate) struct Environments {
    /// By the bytes that they were read from, values and all, of which only the hash is kept.
    /// Nobody else knows its key.
    read: HashMap<u64, (ArcWeak<Vec<String>>, bool)>,
    keys: RandomState,
    /// By what is told of them.
    told: HashMap<u64, ArcWeak<Vec<String>>>,
}

impl Environments {
    /// What is told of the environment that stands in these bytes, as `tell` has it where it is
    /// not known; and whether it was cut.
    pub(crate) fn of(
        &mut self,
        bytes: &[u8],
        tell: impl FnOnce(&[u8]) -> (Vec<String>, bool),
    ) -> (Arc<Vec<String>>, bool) {
        let key = self.keys.hash_one(bytes);
        if let Some((envs, is_cut)) = self.read.get(&key)
            && let Some(envs) = envs.upgrade()
        {
            return (envs, *is_cut);
        }
        let (envs, is_cut) = tell(bytes);
        let envs = self.share(envs);
        if is_full(&self.read) {
            self.read.retain(|_, (envs, _)| envs.strong_count() > 0);
        }
        self.read.insert(key, (Arc::downgrade(&envs), is_cut));
        (envs, is_cut)
    }

    fn share(&mut self, envs: Vec<String>) -> Arc<Vec<String>> {
        let key = hash(&envs);
        let found = self.told.get(&key).and_then(ArcWeak::upgrade);
        if let Some(found) = found.filter(|found| **found == envs) {
            return found;
        }
        let envs = Arc::new(envs);
        if is_full(&self.told) {
            self.told.retain(|_, envs| envs.strong_count() > 0);
        }
        self.told.insert(key, Arc::downgrade(&envs));
        envs
    }
}

/// Whether the next entry would make a map grow.
fn is_full<K, V, S>(held: &HashMap<K, V, S>) -> bool {
    held.len() >= SWEEP_FIRST && held.len() == held.capacity()
}

fn hash(value: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(argument: &str) -> Image {
        Image {
            argv: vec![argument.to_owned()],
            ..Image::default()
        }
    }

    #[test]
    fn equal_programs_are_kept_once() {
        let images = Images::default();
        let one = images.share(&image("a"));
        assert_eq!(*one, image("a"));
        let same = Image {
            envs: Arc::clone(&one.envs),
            ..image("a")
        };
        assert!(Rc::ptr_eq(&one, &images.share(&same)));
        assert!(!Rc::ptr_eq(&one, &images.share(&image("b"))));
        // Told apart although what they are found by is the same.
        let mut other = same;
        other.tty = "pts/0".to_owned();
        assert_eq!(*images.share(&other), other);
    }

    #[test]
    fn what_nobody_runs_is_forgotten() {
        let images = Images::default();
        for number in 0..10_000 {
            images.share(&image(&number.to_string()));
        }
        assert!(images.0.borrow().len() < 1000);
    }

    #[test]
    fn equal_environments_are_kept_once_and_read_once() {
        let mut environments = Environments::default();
        let words = |bytes: &[u8]| (vec![String::from_utf8_lossy(&bytes[..4]).into()], true);
        let one = environments.of(b"NAME=a", words);
        assert_eq!(one, (Arc::new(vec!["NAME".to_owned()]), true));
        let again = environments.of(b"NAME=a", |_| panic!("it is known"));
        let other_value = environments.of(b"NAME=b", words);
        assert!(Arc::ptr_eq(&one.0, &again.0) && again.1);
        assert!(Arc::ptr_eq(&one.0, &other_value.0));
        assert_ne!(one, environments.of(b"WORD=a", words));
        drop((one, again, other_value));
        for number in 0..10_000 {
            environments.of(format!("{number:04}").as_bytes(), words);
        }
        assert!(environments.read.len() < 1000 && environments.told.len() < 1000);
    }
}
