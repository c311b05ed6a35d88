//! Who may speak for a container.
//!
//! A tracer makes a random key when it starts and shows it in every hello. The first hello of
//! a container binds its key; a later one must show the same. A container that was restarted
//! has a new tracer with a new key, which is let in once the old one is gone for certain.
//!
//! Exec probes and lifecycle hooks speak as `container:probe`: a command that comes again every
//! few seconds, with a new key each time, and that kubelet may kill without a word. Sessions by
//! `kubectl exec` speak as `container:exec-…`, a name for each, and prove who they are by the
//! operator's signature ([`crate::sessions`]).

use picket_events::wire::Hello;

/// How long a container whose tracer vanished without a word stays bound to its key when
/// nothing shows that the container is another one: 30 s.
const HOLD: u64 = 30_000_000_000;

/// The key of a container, and whether its owner is still there.
#[derive(Debug, Clone)]
pub(super) struct Session {
    key: [u8; 32],
    container_id: String,
    /// A command beside the container's own: gone as soon as it is not connected.
    brief: bool,
    connections: usize,
    said_goodbye: bool,
    dropped_at: u64,
}

/// What a hello is to a known container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Claim {
    /// The same tracer again.
    Same,
    /// Another tracer, after the container was restarted.
    Restarted,
    /// Another tracer that has no right to speak.
    Forged,
}

impl Session {
    /// Binds a container to the key of its first hello.
    pub(super) fn bind(hello: &Hello) -> Self {
        Self {
            key: hello.session_key,
            container_id: hello.container_id.clone(),
            brief: part_of(&hello.container).is_some(),
            connections: 1,
            said_goodbye: false,
            dropped_at: 0,
        }
    }

    /// Judges a hello at this time (nanoseconds since the epoch).
    pub(super) fn judge(&self, hello: &Hello, now: u64) -> Claim {
        if same_key(&self.key, &hello.session_key) {
            return Claim::Same;
        }
        let other_container = !hello.container_id.is_empty()
            && !self.container_id.is_empty()
            && hello.container_id != self.container_id;
        let expired = now.saturating_sub(self.dropped_at) >= HOLD;
        let over = self.brief || self.said_goodbye || other_container || expired;
        let gone = self.connections == 0 && over;
        if gone {
            Claim::Restarted
        } else {
            Claim::Forged
        }
    }

    /// The owner connected once more.
    pub(super) fn connected(&mut self) {
        self.connections += 1;
        self.said_goodbye = false;
    }

    /// A connection of the owner ended.
    pub(super) fn disconnected(&mut self, now: u64) {
        self.connections = self.connections.saturating_sub(1);
        self.dropped_at = now;
    }

    /// The owner said that it is done.
    pub(super) fn goodbye(&mut self) {
        self.said_goodbye = true;
    }

    /// Whether the owner said that the application ended.
    pub(super) fn said_goodbye(&self) -> bool {
        self.said_goodbye
    }

    /// True while the owner is connected.
    pub(super) fn is_connected(&self) -> bool {
        self.connections > 0
    }

    /// True for a command beside the container's own: it does not come back.
    pub(super) fn is_brief(&self) -> bool {
        self.brief
    }

    /// When the owner was last there, nanoseconds since the epoch.
    pub(super) fn dropped_at(&self) -> u64 {
        self.dropped_at
    }
}

/// The probe or hook that a name is about; names of containers have no colon.
fn part_of(name: &str) -> Option<&str> {
    name.split_once(':').map(|(_, part)| part)
}

/// Compares in a time that does not tell how much is equal.
fn same_key(left: &[u8; 32], right: &[u8; 32]) -> bool {
    left.iter()
        .zip(right)
        .fold(0, |difference, (left, right)| difference | (left ^ right))
        == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(key: u8, container_id: &str) -> Hello {
        Hello {
            session_key: [key; 32],
            container_id: container_id.to_owned(),
            ..Hello::default()
        }
    }

    #[test]
    fn only_the_owner_or_a_successor_of_one_that_is_gone_may_speak() {
        let cases: &[(&str, &str, &str, Claim)] = &[
            ("connected", "a", "a", Claim::Forged),
            ("connected", "a", "b", Claim::Forged),
            ("goodbye", "a", "a", Claim::Restarted),
            ("goodbye", "", "", Claim::Restarted),
            ("dropped", "a", "b", Claim::Restarted),
            ("dropped", "a", "a", Claim::Forged),
            ("dropped", "", "", Claim::Forged),
            ("dropped", "", "b", Claim::Forged),
            ("expired", "", "", Claim::Restarted),
        ];
        for (state, bound, shown, expected) in cases {
            let mut session = Session::bind(&hello(1, bound));
            if *state == "goodbye" {
                session.goodbye();
            }
            if *state != "connected" {
                session.disconnected(100);
            }
            let now = if *state == "expired" { 100 + HOLD } else { 101 };
            assert_eq!(
                session.judge(&hello(2, shown), now),
                *expected,
                "{state} {bound:?} {shown:?}"
            );
            assert_eq!(session.judge(&hello(1, shown), now), Claim::Same);
        }
    }

    #[test]
    fn a_probe_that_was_killed_comes_again() {
        let probe = |key: u8| Hello {
            container: "web:livenessProbe".into(),
            ..hello(key, "a")
        };
        let mut session = Session::bind(&probe(1));
        assert_eq!(session.judge(&probe(2), 100), Claim::Forged, "still there");
        session.disconnected(100);
        assert_eq!(session.judge(&probe(2), 101), Claim::Restarted);
    }
}
