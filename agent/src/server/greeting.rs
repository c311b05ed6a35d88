//! Connections that have not said hello.
//!
//! They are few and short-lived: a tracer says hello at once. When somebody opens connections
//! and says nothing, the oldest silent one goes for each that comes, so a tracer is never
//! kept waiting for a time-out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

/// The connections that have not said hello, oldest first.
#[derive(Debug)]
pub(super) struct Greetings {
    limit: usize,
    waiting: Mutex<VecDeque<Arc<Notify>>>,
}

/// A place among them; it is given up on drop.
#[derive(Debug)]
pub(super) struct Place<'a> {
    greetings: &'a Greetings,
    pushed_out: Arc<Notify>,
}

impl Greetings {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            waiting: Mutex::default(),
        }
    }

    /// Takes a place, pushing out the oldest where there is none.
    pub(super) fn enter(&self) -> Place<'_> {
        let pushed_out = Arc::new(Notify::new());
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        while waiting.len() >= self.limit.max(1) {
            if let Some(oldest) = waiting.pop_front() {
                oldest.notify_one();
            }
        }
        waiting.push_back(Arc::clone(&pushed_out));
        Place {
            greetings: self,
            pushed_out,
        }
    }
}

impl Place<'_> {
    /// Ends when this place was given to another.
    pub(super) async fn pushed_out(&self) {
        self.pushed_out.notified().await;
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self
            .greetings
            .waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        waiting.retain(|place| !Arc::ptr_eq(place, &self.pushed_out));
    }
}
