//! Fields of events about memory and the kernel.

use picket_events::EventKind;
use picket_rules::Value;

use super::{Fields, bits, int};

pub(super) const FIELDS: Fields = &[
    (
        "mmap.protection",
        of!(EventKind::Mmap { protection, .. } => int(*protection)),
    ),
    (
        "mmap.flags",
        of!(EventKind::Mmap { flags, .. } => int(*flags)),
    ),
    (
        "mprotect.vm_protection",
        of!(EventKind::Mprotect { before, .. } => int(*before)),
    ),
    (
        "mprotect.req_protection",
        of!(EventKind::Mprotect { requested, .. } => int(*requested)),
    ),
    ("bpf.cmd", of!(EventKind::Bpf { command } => int(*command))),
    (
        "userfaultfd.flags",
        of!(EventKind::Userfaultfd { flags } => int(*flags)),
    ),
    (
        "load_module.loaded_from_memory",
        of!(EventKind::LoadModule { from_memory, .. } => Value::Bool(*from_memory)),
    ),
    (
        "load_module.name",
        of!(EventKind::LoadModule { name, .. } => Value::Str(name)),
    ),
    (
        "load_module.args",
        of!(EventKind::LoadModule { arguments, .. } => Value::Str(arguments)),
    ),
    ("load_module.argv", |scene| {
        Some(Value::Strs(&scene.derived.arguments))
    }),
    (
        "unload_module.name",
        of!(EventKind::UnloadModule { name } => Value::Str(name)),
    ),
    (
        "unshare.flags",
        of!(EventKind::Unshare { flags, .. } => bits(*flags)),
    ),
    (
        "unshare.entered",
        of!(EventKind::Unshare { entered, .. } => Value::Bool(*entered)),
    ),
    (
        "io_uring.entries",
        of!(EventKind::IoUring { entries } => int(*entries)),
    ),
];
