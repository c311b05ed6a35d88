//! Paths to which a directory is the root (`RESOLVE_IN_ROOT` of `openat2`): `..` and links do not lead out of it.

use std::ffi::CString;
use std::rc::Rc;

use super::{Call, Located};
use crate::proc;
use crate::resolve::{Root, View};
use crate::sys::files::{self, AT_FDCWD};

/// A path argument as the kernel follows it within a directory, and where that leads in our root. As it is
/// without the directory's being its root where that cannot be looked into.
pub(super) fn within(call: &Call<'_>, directory: i32, argument: usize, follow: bool) -> Located {
    let at = call.path_at(directory, argument, follow);
    led(call, directory, argument, follow).map_or(at.clone(), |path| Located {
        path,
        descriptor: None,
        fault: None,
        below: None,
        ..at
    })
}

fn led(call: &Call<'_>, directory: i32, argument: usize, follow: bool) -> Option<Vec<u8>> {
    let written = call.process.memory()?.path(call.address(argument)).ok()?;
    let view = Some(call.view()).filter(|view| view.follows)?;
    let mut prefix = view.directory(directory).ok()?;
    if written.is_empty() || prefix.first() != Some(&b'/') {
        return None;
    }
    if prefix == b"/" {
        prefix.clear();
    }
    let start = CString::new(view.start_link(directory)).ok()?;
    let opened = proc::as_tracee(view.credentials, || {
        files::open_path(AT_FDCWD, &start, true, 0)
    });
    let path = [prefix.as_slice(), b"/", &written].concat();
    let root = Root::Foreign {
        directory: Rc::new(opened.ok()?),
        prefix,
        is_below_ours: true,
    };
    let found = View {
        root: &root,
        ..view
    }
    .resolve(&path, follow);
    (found.path.first() == Some(&b'/')).then_some(found.path)
}
