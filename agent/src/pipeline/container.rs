//! One container: its tracer's session, its processes, its losses.

use picket_events::Interest;
use picket_events::relay::{ContainerReport, ContainerState, EngineName, Gap, MAX_NAME};
use picket_events::wire::{Engine, Hello};
use serde_json::{Value, json};

use super::loss::Loss;
use super::session::Session;
use crate::context::{ContainerInfo, container_tags};
use crate::hostnames::HostNames;
use crate::identity::Identity;
use crate::sessions::UserSession;
use crate::tree::ProcessTree;

/// Longest name, id or command that is kept of a hello, in bytes.
const MAX_TEXT: usize = 1024;

/// A container of the pod.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) info: ContainerInfo,
    pub(super) tree: ProcessTree,
    pub(super) session: Session,
    pub(super) loss: Loss,
    pub(super) names: HostNames,
    /// True between a hello and the first event: processes and accounts are told of anew.
    pub(super) in_snapshot: bool,
    pub(super) events: u64,
    engine: Engine,
    interest: String,
    generation: u32,
    are_reads_unwatched: bool,
}

impl Container {
    /// A container whose tracer said hello for the first time.
    pub(super) fn new(
        hello: &Hello,
        identity: &Identity,
        scope_key: u64,
        user_session: Option<UserSession>,
    ) -> Self {
        let name = shortened(&hello.container);
        // A probe's or hook's command is one of its container's.
        let of_container = name.split(':').next().unwrap_or_default().to_owned();
        let info = ContainerInfo {
            tags: container_tags(identity, &of_container),
            name: of_container,
            id: shortened(&hello.container_id),
            started_at: hello.started_at,
            accounts: Default::default(),
            scope_key,
            user_session,
        };
        let mut loss = Loss::default();
        // An older tracer may have told its first events to an agent before this one.
        if hello.started_at >= identity.started_at && hello.generation == 0 {
            loss.start_after(0);
        }
        Self {
            info,
            tree: ProcessTree::default(),
            session: Session::bind(hello),
            loss,
            names: HostNames::default(),
            in_snapshot: true,
            events: 0,
            engine: hello.engine.clone(),
            interest: hello.interest.clone(),
            generation: hello.generation,
            are_reads_unwatched: false,
        }
    }

    /// The same tracer connected again.
    pub(super) fn reconnect(&mut self, hello: &Hello) {
        self.session.connected();
        self.engine = hello.engine.clone();
        self.interest.clone_from(&hello.interest);
        if hello.generation != self.generation {
            self.generation = hello.generation;
            self.loss.restart();
        }
        // The tracer says so again where it is.
        self.are_reads_unwatched = false;
        self.tree.begin_snapshot();
        self.in_snapshot = true;
    }

    /// The interest that the installed filter serves, in its text form.
    pub(super) fn interest(&self) -> &str {
        &self.interest
    }

    /// Files that rules are about are not watched for reads, or are again.
    pub(super) fn reads_are_unwatched(&mut self, unwatched: bool) {
        self.are_reads_unwatched = unwatched;
    }

    /// True when nothing of this container is seen.
    pub(super) fn is_untraced(&self) -> bool {
        matches!(self.engine, Engine::None | Engine::Failed { .. })
    }

    /// What the relay is told of this container, where the rules need to see this.
    pub(super) fn report(&self, needed: &Interest) -> ContainerReport {
        let state = match &self.engine {
            Engine::None => ContainerState::NotTraced {
                step: String::new(),
                errno: 0,
            },
            Engine::Failed { step, errno } => ContainerState::NotTraced {
                step: name(step),
                errno: *errno,
            },
            _ if self.session.is_connected() => ContainerState::Traced,
            _ if self.session.said_goodbye() => ContainerState::Ended,
            _ => ContainerState::Disconnected,
        };
        let mut gaps = Vec::new();
        if !self.is_untraced() && !self.shows(needed) {
            gaps.push(Gap::RulesNeedRestart);
        }
        if self.are_reads_unwatched {
            gaps.push(Gap::ReadsUnwatched);
        }
        if self.loss.total() > 0 {
            gaps.push(Gap::EventsLost);
        }
        ContainerReport {
            name: name(&self.info.name),
            state,
            engine: match self.engine {
                Engine::UserNotification => EngineName::UserNotification,
                Engine::Ptrace => EngineName::Ptrace,
                Engine::None | Engine::Failed { .. } => EngineName::None,
            },
            restarts: self.generation,
            gaps,
            events: self.events,
            lost: self.loss.total(),
        }
    }

    /// Whether the installed filter shows all of this.
    fn shows(&self, needed: &Interest) -> bool {
        let installed = self.interest.parse::<Interest>();
        installed.is_ok_and(|installed| installed.covers(needed))
    }

    /// What a heartbeat says of this container.
    pub(super) fn status(&self) -> Value {
        json!({
            "name": self.info.name,
            "id": self.info.id,
            "engine": engine_name(&self.engine),
            "connected": self.session.is_connected(),
            "generation": self.generation,
            "processes": self.tree.living().count(),
            "forgotten_processes": self.tree.forgotten(),
            "events": self.events,
            "lost": self.loss.total(),
        })
    }
}

/// What a hello says, for an event about it.
pub(super) fn describe(hello: &Hello) -> Value {
    let mut entrypoint = Vec::new();
    for argument in crate::scrub::arguments(&hello.entrypoint).iter().take(32) {
        entrypoint.push(shortened(argument));
    }
    let mut body = json!({
        "engine": engine_name(&hello.engine),
        "generation": hello.generation,
        "entrypoint": entrypoint,
        "interest": shortened(&hello.interest),
    });
    if let Engine::Failed { step, errno } = &hello.engine {
        body["step"] = json!(shortened(step));
        body["errno"] = json!(errno);
    }
    body
}

fn engine_name(engine: &Engine) -> &'static str {
    match engine {
        Engine::UserNotification => "user_notification",
        Engine::Ptrace => "ptrace",
        Engine::None => "none",
        Engine::Failed { .. } => "failed",
    }
}

/// As much of a text as the relay takes for a name.
fn name(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_NAME.min(text.len()))].to_owned()
}

pub(super) fn shortened(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_TEXT.min(text.len()))].to_owned()
}
