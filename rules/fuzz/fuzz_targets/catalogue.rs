//! Catalogues from outside (`--fields`): any text is one or a fault, and expressions that go with
//! one are answered. The first line is the catalogue, the second an `eval` request.
#![no_main]

use std::sync::Arc;

use libfuzzer_sys::fuzz_target;
use picket_rules::Catalogue;
use picket_rules::tools::eval::answer;

fuzz_target!(|text: &str| {
    let (fields, request) = text.split_once('\n').unwrap_or((text, "{}"));
    match Catalogue::from_json(fields) {
        Ok(catalogue) => {
            let answer = answer(&Arc::new(catalogue), request, 0);
            assert!(answer.result.is_some() != answer.error.is_some());
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
