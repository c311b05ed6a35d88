//! What is known about images.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use super::{Platform, Unresolved};

/// What an image's configuration says about its process.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImageConfig {
    /// Digest of what the reference names: of the index, where there is one. Empty when the
    /// configuration was given by hand.
    pub digest: String,
    /// ENTRYPOINT; empty when the image has none.
    pub entrypoint: Vec<String>,
    /// CMD; empty when the image has none.
    pub cmd: Vec<String>,
    /// `User`: a uid or a name, with or without a group.
    pub user: Option<String>,
    /// `WorkingDir`.
    pub working_dir: Option<String>,
    /// `StopSignal`.
    pub stop_signal: Option<String>,
    /// `PATH` of its environment, in which a relative ENTRYPOINT is looked for.
    pub path: Option<String>,
}

impl ImageConfig {
    /// The uid that the image runs as, where it is a number.
    pub fn uid(&self) -> Option<u32> {
        let user = self.user.as_deref()?;
        user.split_once(':')
            .map_or(user, |(uid, _)| uid)
            .parse()
            .ok()
    }

    /// The number of bytes that it takes in memory, about.
    pub fn weight(&self) -> usize {
        let words = self.entrypoint.iter().chain(&self.cmd);
        let texts = [&self.user, &self.working_dir, &self.stop_signal, &self.path];
        let text = texts.into_iter().flatten().map(String::len).sum::<usize>();
        256 + self.digest.len() + text + words.map(|word| word.len() + 24).sum::<usize>()
    }
}

/// An image that has to be known, for one platform.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Wanted {
    /// The reference as the pod has it.
    pub image: String,
    /// The platform that it will run on.
    pub platform: Platform,
}

/// What was found out about images.
#[derive(Debug, Clone, Default)]
pub struct Images(BTreeMap<Wanted, Result<Arc<ImageConfig>, Unresolved>>);

impl Images {
    /// Nothing was asked.
    pub const NONE: &'static Self = &Self(BTreeMap::new());

    /// The answer about an image; `None` when nobody has asked.
    pub fn get(&self, wanted: &Wanted) -> Option<&Result<Arc<ImageConfig>, Unresolved>> {
        self.0.get(wanted)
    }

    /// Takes note of an answer.
    pub fn insert(&mut self, wanted: Wanted, answer: Result<Arc<ImageConfig>, Unresolved>) {
        self.0.insert(wanted, answer);
    }
}

impl IntoIterator for Images {
    type Item = (Wanted, Result<Arc<ImageConfig>, Unresolved>);
    type IntoIter =
        std::collections::btree_map::IntoIter<Wanted, Result<Arc<ImageConfig>, Unresolved>>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl FromIterator<(Wanted, Result<Arc<ImageConfig>, Unresolved>)> for Images {
    fn from_iter<T>(answers: T) -> Self
    where
        T: IntoIterator<Item = (Wanted, Result<Arc<ImageConfig>, Unresolved>)>,
    {
        Self(answers.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_numeric_user_is_a_uid() {
        for (user, expected) in [
            ("1000", Some(1000)),
            ("1000:0", Some(1000)),
            ("nginx", None),
            ("nginx:101", None),
            ("", None),
        ] {
            let config = ImageConfig {
                user: Some(user.into()),
                ..ImageConfig::default()
            };
            assert_eq!(config.uid(), expected, "{user}");
        }
    }
}
