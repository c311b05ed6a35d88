//! `picket samples`: a sample finding of each type.

use std::fs::File;
use std::io::{Write, stdout};

use anyhow::Context as _;
use picket_agent::identity::Identity;
use picket_agent::{samples, server};

use crate::arguments;
use crate::run;
use crate::terminal::{self, Style};

/// Writes the samples.
///
/// # Errors
/// When rules do not load or the output cannot be written.
pub(crate) fn samples(arguments: &arguments::Samples) -> anyhow::Result<()> {
    let rules = run::load(&arguments.sources)?.rules;
    let (mut output, style): (Box<dyn Write>, Style) = match &arguments.output {
        Some(path) => {
            let file = File::create(path).with_context(|| path.display().to_string())?;
            let style = Style::detect(&file);
            (Box::new(file), style)
        }
        None => (Box::new(stdout()), Style::detect(&stdout())),
    };
    for sample in samples::samples(&rules, &Identity::default(), server::now()) {
        let text = if arguments.json {
            format!("{}\n", sample.to_line())
        } else {
            terminal::finding(&serde_json::to_value(&sample)?, style)
        };
        match output.write_all(text.as_bytes()) {
            // Closed early, as by `head`.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => break,
            result => result.context("cannot write the samples")?,
        }
    }
    Ok(())
}
