//! Following one named object.

use std::fmt::Debug;
use std::pin::pin;
use std::sync::Arc;

use futures::StreamExt;
use kube::runtime::WatchStreamExt;
use kube::runtime::watcher::watch_object;
use kube::{Api, Resource};
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tracing::warn;

/// What is known of an object.
#[derive(Debug)]
pub enum Seen<K> {
    /// The API server has not answered yet.
    NotYet,
    /// It does not exist.
    Missing,
    /// It exists, as last seen.
    Present(Arc<K>),
}

impl<K> Clone for Seen<K> {
    fn clone(&self) -> Self {
        match self {
            Self::NotYet => Self::NotYet,
            Self::Missing => Self::Missing,
            Self::Present(object) => Self::Present(Arc::clone(object)),
        }
    }
}

impl<K> Seen<K> {
    /// The object, if it exists.
    #[must_use]
    pub fn present(&self) -> Option<&K> {
        match self {
            Self::Present(object) => Some(object),
            Self::NotYet | Self::Missing => None,
        }
    }
}

/// Follows the object `name` for ever and sends what is seen of it. Errors are
/// logged and retried with growing delays; what was seen last stays.
pub async fn follow<K>(api: Api<K>, name: &str, seen: watch::Sender<Seen<K>>)
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    let mut objects = pin!(watch_object(api, name).default_backoff());
    while let Some(object) = objects.next().await {
        match object {
            Ok(Some(object)) => seen.send_replace(Seen::Present(Arc::new(object))),
            Ok(None) => seen.send_replace(Seen::Missing),
            Err(error) => {
                warn!(object = name, %error, "watch failed, trying again");
                continue;
            }
        };
    }
}
