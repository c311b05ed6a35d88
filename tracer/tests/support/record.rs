//! What a tracer has said.

use std::collections::HashMap;

use picket_events::wire::{Goodbye, Lost, Notice, ToAgent};
use picket_events::{Event, EventKind, EventType, Image, Process};

/// What was said, with ways to look at it.
#[derive(Debug, Clone)]
pub struct Record(pub Vec<ToAgent>);

impl Record {
    pub fn events(&self) -> Vec<&Event> {
        self.0
            .iter()
            .filter_map(|message| match message {
                ToAgent::Event(event) => Some(&**event),
                _ => None,
            })
            .collect()
    }

    pub fn of(&self, kind: EventType) -> Vec<&Event> {
        self.events()
            .into_iter()
            .filter(|event| event.event_type() == kind)
            .collect()
    }

    /// The one event of this type about this path.
    pub fn about(&self, kind: EventType, path: &str) -> &Event {
        let found: Vec<_> = self
            .of(kind)
            .into_iter()
            .filter(|event| event.kind.file().is_some_and(|file| file.path == path))
            .collect();
        match found.as_slice() {
            [event] => event,
            [] => panic!("no {kind:?} of {path} in {:#?}", self.paths(kind)),
            _ => panic!("several {kind:?} of {path}: {found:#?}"),
        }
    }

    pub fn paths(&self, kind: EventType) -> Vec<String> {
        let file = |event: &&Event| event.kind.file().map(|file| file.path.clone());
        self.of(kind).iter().filter_map(file).collect()
    }

    pub fn images(&self) -> Vec<(&Event, &Image)> {
        self.events()
            .into_iter()
            .filter_map(|event| match &event.kind {
                EventKind::Exec(image) => Some((event, &**image)),
                _ => None,
            })
            .collect()
    }

    /// The exec of the program with this name.
    pub fn exec(&self, name: &str) -> (&Event, &Image) {
        let found: Vec<_> = self
            .images()
            .into_iter()
            .filter(|(_, image)| {
                image
                    .argv
                    .first()
                    .is_some_and(|first| first.ends_with(name))
            })
            .collect();
        assert_eq!(found.len(), 1, "execs of {name}: {:#?}", self.images());
        found[0]
    }

    pub fn processes(&self) -> Vec<&Process> {
        self.0
            .iter()
            .filter_map(|message| match message {
                ToAgent::Process(process) => Some(&**process),
                _ => None,
            })
            .collect()
    }

    /// Parent of each process, from forks and snapshots.
    pub fn parents(&self) -> HashMap<u32, u32> {
        let forks = self
            .events()
            .into_iter()
            .filter_map(|event| match &event.kind {
                EventKind::Fork(process) => Some((process.pid, process.parent)),
                _ => None,
            });
        self.processes()
            .iter()
            .map(|p| (p.pid, p.parent))
            .chain(forks)
            .collect()
    }

    pub fn lost(&self) -> Vec<&Lost> {
        self.0
            .iter()
            .filter_map(|message| match message {
                ToAgent::Lost(lost) => Some(lost),
                _ => None,
            })
            .collect()
    }

    pub fn notices(&self) -> Vec<&Notice> {
        self.0
            .iter()
            .filter_map(|message| match message {
                ToAgent::Notice(notice) => Some(notice),
                _ => None,
            })
            .collect()
    }

    pub fn goodbye(&self) -> Option<&Goodbye> {
        self.0.iter().find_map(|message| match message {
            ToAgent::Goodbye(goodbye) => Some(goodbye),
            _ => None,
        })
    }
}
