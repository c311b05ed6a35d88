//! `eval` requests as they come: expression, event, variables and macros from outside.
#![no_main]

use libfuzzer_sys::fuzz_target;
use picket_rules::Catalogue;
use picket_rules::tools::eval::answer;

fuzz_target!(|line: &str| {
    let answer = answer(&Catalogue::standard(), line, 0);
    assert!(answer.result.is_some() != answer.error.is_some());
});
