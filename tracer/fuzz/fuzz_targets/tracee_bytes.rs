//! Whatever a traced program sends, receives, is called or is made of, and whatever an agent says to
//! the tracer.
//!
//! The first byte says which reader gets the rest.
//!
//! `cargo +nightly fuzz run tracee_bytes fuzz/found/tracee_bytes fuzz/corpus/tracee_bytes`

#![no_main]

use std::fs::File;
use std::io::Write;

use libfuzzer_sys::fuzz_target;
use picket_events::Interest;
use picket_events::wire::{FrameReader, ToTracer};
use picket_tracer::fuzz;
use rustix::fs::{MemfdFlags, memfd_create};

/// Forms that the tracer's own readers are for, by their number.
const FORMS: u8 = 9;

fuzz_target!(|data: &[u8]| {
    let Some((form, data)) = data.split_first() else { return };
    match form % (FORMS + 3) {
        FORMS => {
            let mut file = File::from(memfd_create("program", MemfdFlags::empty()).expect("a file"));
            file.write_all(data).expect("room");
            fuzz::program(&file);
        }
        10 => {
            let mut reader = FrameReader::new();
            reader.feed(data);
            while let Ok(Some(frame)) = reader.next_frame() {
                frame.messages::<ToTracer>().for_each(drop);
            }
        }
        11 => {
            let interest = std::str::from_utf8(data).ok().and_then(|text| text.parse::<Interest>().ok());
            if let Some(interest) = interest {
                assert_eq!(interest.to_string().parse(), Ok(interest));
            }
        }
        form => fuzz::bytes(form, data),
    }
});
