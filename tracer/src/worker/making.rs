//! Making calls in a tracee's place, on what is held and was judged.

use picket_events::EventType;

use super::Worker;
use crate::decode::acts::Act;
use crate::decode::files::MADE;
use crate::decode::{self, Answer, Call};
use crate::denials::{Subject, names};
use crate::openers::{self, Manner};
use crate::pin::{self, Entry, Pinned};
use crate::proc;
use crate::sys::acting::{self, Identity};
use crate::sys::{Errno, Result};

/// What a look at a call has come to.
pub(super) enum Found {
    /// A rule refuses it; what was held, where it was there.
    Denied(Box<(Subject, Option<Pinned>)>),
    /// It was made.
    Made(Answer),
}

/// Times that a name is looked at anew when something else has come there meanwhile.
const ATTEMPTS: usize = 8;

impl Worker<'_> {
    /// Holds what an act is about, judges it, and, where it `makes` it, makes it: as the caller,
    /// whose identity we have taken on.
    pub(super) fn carry_out(
        &self,
        call: &Call<'_>,
        event: EventType,
        act: &Act,
        umask: u32,
        makes: bool,
    ) -> Result<Found> {
        let view = call.view();
        let judge = |subject: Subject, pinned: Option<Pinned>| match self.denials.refuse(
            event,
            &subject,
            call.process,
        ) {
            true => Err(Found::Denied(Box::new((subject, pinned)))),
            false => Ok(pinned),
        };
        let of = |path: &[u8]| Subject {
            path: names(view.root, path),
            ..Subject::default()
        };
        let done = |result: Result<()>| result.map(|()| Found::Made(Answer::Value(0)));
        let nothing = || Ok(Found::Made(Answer::Value(0)));
        match act {
            Act::Open { at, flags, mode } => {
                self.open(call, (at, *flags, mode & !umask), judge, makes)
            }
            Act::Truncate { at, length } => {
                let pinned = pin::file(&view, at)?;
                let flags = (libc::O_WRONLY | libc::O_TRUNC) as u32;
                let subject = Subject {
                    flags,
                    ..of(pinned.path())
                };
                match judge(subject, Some(pinned)) {
                    Err(denied) => Ok(denied),
                    Ok(Some(pinned)) if makes => {
                        done(acting::truncate(&pinned.magic_path(), *length))
                    }
                    Ok(_) => nothing(),
                }
            }
            Act::Chmod { at, mode } => {
                let pinned = pin::file(&view, at)?;
                match judge(of(pinned.path()), Some(pinned)) {
                    Err(denied) => Ok(denied),
                    Ok(Some(pinned)) if makes => {
                        done(acting::change_mode(&pinned.magic_path(), *mode))
                    }
                    Ok(_) => nothing(),
                }
            }
            Act::Chown { at, uid, gid } => {
                let pinned = pin::file(&view, at)?;
                match judge(of(pinned.path()), Some(pinned)) {
                    Err(denied) => Ok(denied),
                    Ok(Some(pinned)) if makes => {
                        done(acting::change_owner(pinned.file(), *uid, *gid))
                    }
                    Ok(_) => nothing(),
                }
            }
            Act::Unlink { at, flags } => {
                let entry = pin::entry(&view, at)?;
                if let Err(denied) = judge(of(&entry.path()), None) {
                    return Ok(denied);
                }
                if !makes {
                    return nothing();
                }
                done(acting::unlink_at(
                    entry.directory.file(),
                    &entry.name,
                    *flags,
                ))
            }
            Act::Mkdir { at, mode } => {
                let entry = pin::entry(&view, at)?;
                if let Err(denied) = judge(of(&entry.path()), None) {
                    return Ok(denied);
                }
                if !makes {
                    return nothing();
                }
                let mode = mode & !umask;
                done(acting::mkdir_at(entry.directory.file(), &entry.name, mode))
            }
            Act::Make { at, mode, device } => {
                let entry = pin::entry(&view, at)?;
                let subject = Subject {
                    flags: MADE,
                    ..of(&entry.path())
                };
                if let Err(denied) = judge(subject, None) {
                    return Ok(denied);
                }
                if !makes {
                    return nothing();
                }
                let mode = mode & !umask;
                let place = (entry.directory.file(), &*entry.name);
                done(acting::make_at(place, mode, *device))
            }
            Act::Rename { from, to, flags } => {
                let (from, to) = (pin::entry(&view, from)?, pin::entry(&view, to)?);
                let subject = Subject {
                    destination: names(view.root, &to.path()),
                    ..of(&from.path())
                };
                if let Err(denied) = judge(subject, None) {
                    return Ok(denied);
                }
                if !makes {
                    return nothing();
                }
                let name = |entry: &'_ Entry| entry.name.clone();
                let (one, other) = (name(&from), name(&to));
                let from = (from.directory.file(), &*one);
                done(acting::rename_at(
                    from,
                    (to.directory.file(), &other),
                    *flags,
                ))
            }
            Act::Link { target, to } => {
                let to = pin::entry(&view, to)?;
                let destination = names(view.root, &to.path());
                let place = (to.directory.file(), &*to.name);
                if target.follow || target.descriptor.is_some() {
                    let pinned = pin::file(&view, target)?;
                    let subject = Subject {
                        destination,
                        ..of(pinned.path())
                    };
                    return match judge(subject, Some(pinned)) {
                        Err(denied) => Ok(denied),
                        Ok(Some(pinned)) if makes => {
                            done(acting::link_at((None, &pinned.magic_path()), place))
                        }
                        Ok(_) => nothing(),
                    };
                }
                let from = pin::entry(&view, target)?;
                let subject = Subject {
                    destination,
                    ..of(&from.path())
                };
                if let Err(denied) = judge(subject, None) {
                    return Ok(denied);
                }
                if !makes {
                    return nothing();
                }
                done(acting::link_at(
                    (Some(from.directory.file()), &from.name),
                    place,
                ))
            }
            Act::Symlink { text, at } => {
                let entry = pin::entry(&view, at)?;
                let target = picket_events::text::from_bytes(text.as_bytes());
                let subject = Subject {
                    path: [target.clone(), target],
                    destination: names(view.root, &entry.path()),
                    ..Subject::default()
                };
                if let Err(denied) = judge(subject, None) {
                    return Ok(denied);
                }
                if !makes {
                    return nothing();
                }
                done(acting::symlink_at(
                    text,
                    entry.directory.file(),
                    &entry.name,
                ))
            }
        }
    }

    fn open(
        &self,
        call: &Call<'_>,
        (at, flags, mode): (&decode::Located, u32, u32),
        judge: impl Fn(Subject, Option<Pinned>) -> std::result::Result<Option<Pinned>, Found>,
        makes: bool,
    ) -> Result<Found> {
        const O_CREAT: u32 = 0o100;
        const O_EXCL: u32 = 0o200;
        let view = call.view();
        let subject = |path: &[u8]| Subject {
            path: names(view.root, path),
            flags,
            ..Subject::default()
        };
        for _ in 0..ATTEMPTS {
            let mut pinned = match pin::file(&view, at) {
                Ok(pinned) => pinned,
                Err(Errno(libc::ENOENT)) if flags & O_CREAT != 0 => {
                    let entry = match pin::entry_to_make(&view, at) {
                        Err(Errno(libc::EEXIST)) => continue,
                        other => other?,
                    };
                    if let Err(denied) = judge(subject(&entry.path()), None) {
                        return Ok(denied);
                    }
                    if !makes {
                        return Ok(Found::Made(Answer::Value(0)));
                    }
                    match make(&entry, flags | O_EXCL, mode) {
                        // Somebody else was faster: theirs is what is opened then.
                        Err(Errno(libc::EEXIST)) if flags & O_EXCL == 0 => continue,
                        result => return result.map(descriptor),
                    }
                }
                Err(errno) => return Err(errno),
            };
            let mut manner = openers::manner(&pinned, flags)?;
            if manner == Manner::Terminal {
                pinned = self.terminal_of(call)?;
                manner = Manner::Apart;
            }
            let Some(pinned) = (match judge(subject(pinned.path()), Some(pinned)) {
                Err(denied) => return Ok(denied),
                Ok(pinned) => pinned,
            }) else {
                return Err(Errno(libc::EPERM));
            };
            if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL {
                return Err(Errno(libc::EEXIST));
            }
            if !makes {
                return Ok(Found::Made(Answer::Value(0)));
            }
            let is_directory = pinned.metadata()?.mode & libc::S_IFMT == libc::S_IFDIR;
            if is_directory && flags & O_CREAT != 0 {
                return Err(Errno(libc::EISDIR));
            }
            return match manner {
                Manner::Not(errno) => Err(Errno(errno)),
                Manner::AtOnce => openers::open(&pinned, flags, mode).map(descriptor),
                _ => Ok(Found::Made(Answer::Later {
                    pinned,
                    flags,
                    identity: Identity::default(),
                })),
            };
        }
        Err(Errno(libc::EAGAIN))
    }

    /// The caller's controlling terminal.
    fn terminal_of(&self, call: &Call<'_>) -> Result<Pinned> {
        let none = Errno(libc::ENXIO);
        let stat = proc::stat(call.process.pid).map_err(|_| none)?;
        let name = proc::terminal_name(stat.terminal);
        if name.is_empty() {
            return Err(none);
        }
        let at = decode::Located {
            path: call
                .process
                .root
                .unstripped(format!("/dev/{name}").as_bytes()),
            descriptor: None,
            follow: true,
            fault: None,
            below: None,
        };
        let pinned = pin::file(&call.view(), &at).map_err(|_| none)?;
        let (major, minor) = acting::device_of(pinned.file())?;
        let device = (minor & 0xff) | major << 8 | (minor & !0xff) << 12;
        match device == stat.terminal {
            true => Ok(pinned),
            false => Err(none),
        }
    }
}

fn descriptor(file: std::os::fd::OwnedFd) -> Found {
    Found::Made(Answer::Descriptor {
        file,
        close_on_exec: false,
        left: None,
    })
}

fn make(entry: &Entry, flags: u32, mode: u32) -> Result<std::os::fd::OwnedFd> {
    let flags = flags as i32 | libc::O_NOFOLLOW;
    acting::open_at(entry.directory.file(), &entry.name, flags, mode)
}
