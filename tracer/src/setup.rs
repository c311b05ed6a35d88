//! `setup`: puts this program into a directory that the application's containers share.

use std::fmt;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// Name of the program in the shared directory.
const NAME: &str = "picket-tracer";

/// Why the program could not be put there.
#[derive(Debug)]
pub(crate) struct SetupError {
    step: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl fmt::Display for SetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "cannot {} {}: {}",
            self.step,
            self.path.display(),
            self.error
        )?;
        let hint = match self.error.raw_os_error() {
            Some(libc::EACCES | libc::EPERM) => "; is the volume writable for this user?",
            Some(libc::EROFS) => "; is the volume mounted read-only?",
            Some(libc::ENOSPC) => "; is the volume's sizeLimit too small?",
            _ => "",
        };
        f.write_str(hint)
    }
}

/// Copies this program to `directory` so that nobody ever sees half of it: into a temporary
/// file, synced, made executable, and renamed.
pub(crate) fn run(directory: &Path) -> Result<PathBuf, SetupError> {
    let fail = |step, path: &Path| {
        let path = path.to_owned();
        move |error| SetupError { step, path, error }
    };
    let found = fs::metadata(directory).map_err(fail("use the directory", directory))?;
    if !found.is_dir() {
        let error = io::Error::from_raw_os_error(libc::ENOTDIR);
        return Err(fail("use the directory", directory)(error));
    }
    let own = Path::new("/proc/self/exe");
    let mut source = File::open(own).map_err(fail("read", own))?;
    let temporary = directory.join(format!(".{NAME}.{}", crate::sys::process::own_pid()));
    let target = directory.join(NAME);
    let result = (|| {
        // What a crashed predecessor with our process id left behind is in the way.
        let _ = fs::remove_file(&temporary);
        let mut copy = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o500)
            .open(&temporary)
            .map_err(fail("create", &temporary))?;
        io::copy(&mut source, &mut copy).map_err(fail("write", &temporary))?;
        copy.set_permissions(Permissions::from_mode(0o555))
            .map_err(fail("set the mode of", &temporary))?;
        copy.sync_all().map_err(fail("sync", &temporary))?;
        // A program that somebody may still write to cannot be run.
        drop(copy);
        fs::rename(&temporary, &target).map_err(fail("replace", &target))
    })();
    if result.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    result.map(|()| target)
}
