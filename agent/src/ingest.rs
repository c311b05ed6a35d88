//! Bytes of one connection, as they come, into the pipeline.

use picket_events::wire::{Environments, FrameReader, ToAgent, WireError};

use crate::pipeline::{ConnectionId, Outputs, Pipeline, Violation};

/// One connection's state.
#[derive(Debug, Default)]
pub struct Ingest {
    reader: FrameReader,
    environments: Environments,
    connection: Option<ConnectionId>,
    failed: bool,
}

impl Ingest {
    /// A connection that has not said hello.
    pub fn new() -> Self {
        Self::default()
    }

    /// The connection's name in the pipeline, once it said hello.
    pub fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    /// Takes in bytes and handles every message that is complete.
    ///
    /// # Errors
    /// A [`Violation`]: what came before it was handled, nothing after it will be. It is
    /// counted and reported here; closing the connection is up to the caller.
    pub fn feed(
        &mut self,
        pipeline: &mut Pipeline,
        bytes: &[u8],
        now: u64,
        outputs: &mut dyn Outputs,
    ) -> Result<(), Violation> {
        if self.failed {
            return Err(Violation::Malformed);
        }
        self.reader.feed(bytes);
        let result = self.drain(pipeline, now, outputs);
        if let Err(violation) = result {
            self.failed = true;
            self.reader = FrameReader::new();
            // A refusal was reported where it was decided.
            if !matches!(violation, Violation::Refused(_)) {
                pipeline.violation(violation, now, outputs);
            }
        }
        result
    }

    /// The connection ended.
    pub fn close(&mut self, pipeline: &mut Pipeline, now: u64, outputs: &mut dyn Outputs) {
        self.failed = true;
        if let Some(connection) = self.connection.take() {
            pipeline.close_connection(connection, now, outputs);
        }
    }

    fn drain(
        &mut self,
        pipeline: &mut Pipeline,
        now: u64,
        outputs: &mut dyn Outputs,
    ) -> Result<(), Violation> {
        while let Some(frame) = self.reader.next_frame().map_err(broken)? {
            for message in frame.messages::<ToAgent>() {
                let message = message.map_err(broken)?;
                match (self.connection, message) {
                    (Some(connection), message) => {
                        let complete = self.environments.complete(message);
                        if let Some(message) = complete.map_err(broken)? {
                            pipeline.handle(connection, message, now, outputs)?;
                        }
                    }
                    (None, ToAgent::Hello(hello)) => {
                        let opened = pipeline.open_connection(&hello, now, outputs);
                        self.connection = Some(opened.map_err(Violation::Refused)?);
                    }
                    (None, _) => return Err(Violation::NoHello),
                }
            }
        }
        Ok(())
    }
}

fn broken(error: WireError) -> Violation {
    match error {
        WireError::FrameTooLarge(_) | WireError::EmptyFrame => Violation::BadFrame,
        WireError::Malformed | WireError::MessageTooLarge | WireError::EnvironmentTooLarge => {
            Violation::Malformed
        }
    }
}
