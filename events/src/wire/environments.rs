//! Environments, told once and referred to by number.
//!
//! The names of an environment are most of what there is to tell of a program, and mostly all
//! programs of a container have the same. So a program goes over the wire without them
//! ([`Image::envs`]), and has those that were named last: an [`Environment`] goes before it where
//! it has others than the one before. Both sides remember the last [`PLACES`] of a connection.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{ToAgent, WireError};
use crate::event::EventKind;
use crate::process::Image;

/// Environments that are remembered.
pub const PLACES: usize = 32;

/// Largest environment, in bytes as [`size`] counts them: 16 KiB.
pub const MAX_ENVIRONMENT: usize = 16 * 1024;

/// What a variable costs whoever keeps it, besides its text.
const VARIABLE: usize = 24;

/// Says which environment the programs have that are told of from here on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Environment {
    /// The one that has this number.
    Known(u8),
    /// This one, which has this number from now on.
    New(u8, Arc<Vec<String>>),
}

/// Bytes that an environment takes up where it is kept.
pub fn size(variables: &[String]) -> usize {
    variables.iter().map(|text| text.len() + VARIABLE).sum()
}

/// Leaves out the last variables until no more than [`MAX_ENVIRONMENT`] is taken up; true where
/// some were.
pub fn cut(variables: &mut Vec<String>) -> bool {
    let mut room = MAX_ENVIRONMENT;
    let fits = variables.iter().take_while(|text| {
        let rest = room.checked_sub(text.len() + VARIABLE);
        room = rest.unwrap_or_default();
        rest.is_some()
    });
    let fitting = fits.count();
    let is_cut = fitting < variables.len();
    variables.truncate(fitting);
    is_cut
}

/// The environments of a connection, as one side has told them or the other has heard them. At
/// first all are empty, and the first is the one in use.
#[derive(Debug, Clone)]
pub struct Environments {
    places: Vec<Arc<Vec<String>>>,
    in_use: usize,
    /// The place that the next new one takes.
    next: usize,
}

impl Default for Environments {
    fn default() -> Self {
        Self {
            places: vec![Arc::default(); PLACES],
            in_use: 0,
            next: 1,
        }
    }
}

impl Environments {
    /// What has to go before this message, if anything, for its program to have its environment.
    /// It is taken to be told.
    pub fn before(&mut self, message: &ToAgent) -> Option<Environment> {
        self.choose(&image_of(message)?.envs)
    }

    /// What has to be told for the next program to have this environment, if anything has.
    pub fn choose(&mut self, envs: &Arc<Vec<String>>) -> Option<Environment> {
        // Equal ones are mostly the same one, which is seen at a glance.
        if self.places[self.in_use] == *envs {
            return None;
        }
        if let Some(place) = self.places.iter().position(|known| known == envs) {
            self.in_use = place;
            return Some(Environment::Known(place as u8));
        }
        let place = self.next;
        self.next = (place + 1) % PLACES;
        self.places[place] = Arc::clone(envs);
        self.in_use = place;
        Some(Environment::New(place as u8, Arc::clone(envs)))
    }

    /// The environment in use has become another one.
    ///
    /// # Errors
    /// [`WireError::Malformed`] for a number that no environment can have,
    /// [`WireError::EnvironmentTooLarge`].
    pub fn apply(&mut self, environment: Environment) -> Result<(), WireError> {
        let (Environment::Known(number) | Environment::New(number, _)) = environment;
        let place = usize::from(number);
        let known = self.places.get_mut(place).ok_or(WireError::Malformed)?;
        if let Environment::New(_, variables) = environment {
            if size(&variables) > MAX_ENVIRONMENT {
                return Err(WireError::EnvironmentTooLarge);
            }
            *known = variables;
        }
        self.in_use = place;
        Ok(())
    }

    /// Takes in a message as it came: gives it back with the environment that its program has, or
    /// nothing where it was about environments alone.
    ///
    /// # Errors
    /// As [`Self::apply`].
    pub fn complete(&mut self, message: ToAgent) -> Result<Option<ToAgent>, WireError> {
        let mut message = message;
        if let ToAgent::Environment(environment) = message {
            self.apply(environment)?;
            return Ok(None);
        }
        if let Some(image) = image_of_mut(&mut message) {
            image.envs = Arc::clone(&self.places[self.in_use]);
        }
        Ok(Some(message))
    }

    /// What brings somebody who was told anything else to where this is.
    pub fn all(&self) -> Vec<Environment> {
        let numbered = self.places.iter().enumerate();
        let new = numbered.map(|(place, known)| Environment::New(place as u8, Arc::clone(known)));
        new.chain([Environment::Known(self.in_use as u8)]).collect()
    }
}

/// The program that a message tells of.
fn image_of(message: &ToAgent) -> Option<&Image> {
    match message {
        ToAgent::Process(process) => process.image.as_ref(),
        ToAgent::Event(event) => match &event.kind {
            EventKind::Exec(image) => Some(image),
            EventKind::Fork(process) => process.image.as_ref(),
            _ => None,
        },
        _ => None,
    }
}

fn image_of_mut(message: &mut ToAgent) -> Option<&mut Image> {
    match message {
        ToAgent::Process(process) => process.image.as_mut(),
        ToAgent::Event(event) => match &mut event.kind {
            EventKind::Exec(image) => Some(image),
            EventKind::Fork(process) => process.image.as_mut(),
            _ => None,
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::Process;
    use crate::wire::{FrameReader, FrameWriter};

    fn with(envs: &[&str]) -> ToAgent {
        let image = Image {
            envs: Arc::new(envs.iter().map(|&text| text.to_owned()).collect()),
            ..Image::default()
        };
        let image = Some(image);
        ToAgent::Process(Box::new(Process {
            image,
            ..Process::default()
        }))
    }

    fn encode(told: &mut Environments, messages: &[ToAgent]) -> Vec<u8> {
        let mut writer = FrameWriter::new();
        for message in messages {
            if let Some(environment) = told.before(message) {
                writer.push(&ToAgent::Environment(environment)).unwrap();
            }
            writer.push(message).unwrap();
        }
        writer.take()
    }

    fn decode(heard: &mut Environments, bytes: &[u8]) -> Vec<ToAgent> {
        let mut reader = FrameReader::new();
        reader.feed(bytes);
        let mut messages = Vec::new();
        while let Some(frame) = reader.next_frame().unwrap() {
            for message in frame.messages::<ToAgent>() {
                messages.extend(heard.complete(message.unwrap()).unwrap());
            }
        }
        messages
    }

    #[test]
    fn each_program_arrives_with_its_environment_however_many_there_are() {
        let (mut told, mut heard) = (Environments::default(), Environments::default());
        let names: Vec<String> = (0..100).map(|number| format!("NAME{number}")).collect();
        // Two in turns, then more than are remembered, then some that have lost their places.
        let two = (0..10).map(|turn| turn % 2);
        let order: Vec<usize> = two.chain(0..100).chain([3, 99, 0, 3]).collect();
        let sent: Vec<_> = order
            .iter()
            .map(|at| with(&[&names[*at], "PATH"]))
            .collect();
        assert_eq!(decode(&mut heard, &encode(&mut told, &sent)), sent);
        assert_eq!(heard.places, told.places);
    }

    #[test]
    fn a_known_environment_costs_next_to_nothing() {
        let mut told = Environments::default();
        let long = "X".repeat(5000);
        let first = encode(&mut told, &[with(&[&long])]).len();
        let again = encode(&mut told, &[with(&[&long])]).len();
        assert!(first > 5000 && again < 100, "{first} {again}");
    }

    #[test]
    fn who_is_told_all_of_them_is_where_the_other_is() {
        for count in [0, 1, 5, 32, 45] {
            let mut told = Environments::default();
            let texts: Vec<String> = (0..count).map(|number| number.to_string()).collect();
            let messages: Vec<_> = texts.iter().map(|text| with(&[text])).collect();
            encode(&mut told, &messages);
            let mut heard = Environments::default();
            for environment in told.all() {
                heard.apply(environment).unwrap();
            }
            assert_eq!(heard.places, told.places, "{count}");
            assert_eq!(heard.in_use, told.in_use, "{count}");
            let more = [with(&["more"]), with(&["and more"]), with(&["0"])];
            assert_eq!(decode(&mut heard, &encode(&mut told, &more)), more);
        }
    }

    #[test]
    fn a_strange_number_and_an_endless_environment_are_refused() {
        let mut heard = Environments::default();
        assert_eq!(
            heard.apply(Environment::Known(PLACES as u8)),
            Err(WireError::Malformed)
        );
        let none = Arc::new(vec![String::new(); MAX_ENVIRONMENT / VARIABLE]);
        assert_eq!(heard.apply(Environment::New(0, Arc::clone(&none))), Ok(()));
        let mut more = vec![String::new()];
        more.extend_from_slice(&none);
        assert_eq!(
            heard.apply(Environment::New(0, Arc::new(more.clone()))),
            Err(WireError::EnvironmentTooLarge)
        );
        assert!(cut(&mut more) && !cut(&mut more));
        assert_eq!(more, *none);
    }
}
