//! The listening socket.

use std::io;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use tokio::net::UnixListener;

/// Why a socket could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// Something that is no socket has its name.
    #[error("{0}: there is something that is no socket")]
    NoSocket(PathBuf),
    /// Another agent listens on it.
    #[error("{0}: another agent listens there")]
    InUse(PathBuf),
    /// The system refused.
    #[error("{path}: {error}")]
    Io {
        /// The socket, or its directory.
        path: PathBuf,
        /// Why.
        error: io::Error,
    },
}

/// A Unix socket that listens; its name goes when it is dropped.
#[derive(Debug)]
pub struct Socket {
    pub(crate) listener: UnixListener,
    path: PathBuf,
}

impl Socket {
    /// Opens a socket with these permission bits. Its directory is made (0755) if need be; a
    /// socket that nobody listens on any more is replaced. Must be called within a tokio
    /// runtime.
    ///
    /// # Errors
    /// [`SocketError`].
    pub fn bind(path: &Path, mode: u32) -> Result<Self, SocketError> {
        if let Some(directory) = path.parent().filter(|directory| !directory.exists()) {
            std::fs::create_dir_all(directory).map_err(at(directory))?;
            set_mode(directory, 0o755)?;
        }
        remove_stale(path)?;
        let listener = UnixListener::bind(path).map_err(at(path))?;
        set_mode(path, mode)?;
        Ok(Self {
            listener,
            path: path.to_owned(),
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Whoever comes next replaces it anyway.
        let _ = std::fs::remove_file(&self.path);
    }
}

fn remove_stale(path: &Path) -> Result<(), SocketError> {
    match std::fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(at(path)(error)),
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(SocketError::NoSocket(path.to_owned()));
        }
        Ok(_) => {}
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(SocketError::InUse(path.to_owned())),
        Err(_) => std::fs::remove_file(path).map_err(at(path)),
    }
}

fn set_mode(path: &Path, mode: u32) -> Result<(), SocketError> {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(at(path))
}

fn at(path: &Path) -> impl Fn(io::Error) -> SocketError {
    let path = path.to_owned();
    move |error| SocketError::Io {
        path: path.clone(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode_of(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    #[tokio::test]
    async fn directory_and_socket_get_their_modes_and_a_stale_socket_is_replaced() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("run/agent.sock");
        let socket = Socket::bind(&path, 0o666).unwrap();
        assert_eq!(
            (mode_of(path.parent().unwrap()), mode_of(&path)),
            (0o755, 0o666)
        );
        assert!(matches!(
            Socket::bind(&path, 0o666),
            Err(SocketError::InUse(_))
        ));
        // As after kill -9: the name stays, nobody listens.
        let Socket { listener, .. } = &socket;
        let _ = listener;
        std::mem::forget(socket);
        std::fs::remove_file(&path).unwrap();
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let again = Socket::bind(&path, 0o600).unwrap();
        assert_eq!(mode_of(&path), 0o600);
        drop(again);
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("precious");
        std::fs::write(&path, "x").unwrap();
        assert!(matches!(
            Socket::bind(&path, 0o666),
            Err(SocketError::NoSocket(_))
        ));
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "x");
    }
}
