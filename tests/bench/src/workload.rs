//! The workloads: what is run, and what of it is measured.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::run::{self, command, to_end};
use crate::servers;
use crate::variant::{Setup, Variant};

/// How much of it is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effort {
    /// As much as figures take.
    Full,
    /// A hundredth, and a second of what is measured by time: enough to see that it works.
    Quick,
}

impl Effort {
    /// How often something is done that figures want so often.
    pub(crate) fn of(self, times: u32) -> u32 {
        match self {
            Self::Full => times,
            Self::Quick => (times / 100).max(1),
        }
    }

    /// How long something lasts that figures want for so long, in seconds.
    pub(crate) fn seconds(self, wanted: u32) -> u32 {
        match self {
            Self::Full => wanted,
            Self::Quick => wanted.min(1),
        }
    }
}

/// One workload.
pub(crate) struct Workload {
    pub(crate) name: &'static str,
    pub(crate) about: &'static str,
    /// Unit of a measurement; less is better.
    pub(crate) unit: &'static str,
    /// Programs that it needs, with the Debian packages that have them.
    pub(crate) needs: &'static [(&'static str, &'static str)],
    kind: Kind,
}

enum Kind {
    /// One of our own loops, which says itself what a pass takes: the call, passes of each
    /// thread, flags.
    Loop(&'static str, u32, &'static [&'static str]),
    /// A command of a shell in the prepared directory, timed from outside.
    Shell(&'static str),
    /// A server that is loaded from outside.
    Server(servers::Server),
}

/// All of them.
pub(crate) const ALL: &[Workload] = &[
    Workload {
        name: "open-1",
        about: "open and close a file, one thread",
        unit: "ns",
        needs: &[],
        kind: Kind::Loop("open", 60_000, &[]),
    },
    Workload {
        name: "open-4",
        about: "the same with four threads",
        unit: "ns",
        needs: &[],
        kind: Kind::Loop("open", 20_000, &["--threads", "4"]),
    },
    Workload {
        name: "open-idle",
        about: "one thread, and 1,000 that sleep",
        unit: "ns",
        needs: &[],
        kind: Kind::Loop("open", 60_000, &["--idle", "1000"]),
    },
    Workload {
        name: "connect",
        about: "TCP connect, accept and close on loopback",
        unit: "ns",
        needs: &[],
        kind: Kind::Loop("connect", 10_000, &[]),
    },
    Workload {
        name: "spawn",
        about: "fork, exec and wait of /bin/true",
        unit: "ns",
        needs: &[],
        kind: Kind::Loop("spawn", 400, &[]),
    },
    Workload {
        name: "find",
        about: "find and xargs cat, 4,374 files",
        unit: "s",
        needs: &[],
        kind: Kind::Shell("find tree -type f | xargs cat > /dev/null"),
    },
    Workload {
        name: "script",
        about: "a script like configure: small programs, small files, the compiler",
        unit: "s",
        needs: &[("gcc", "gcc")],
        kind: Kind::Shell("sh configure.sh"),
    },
    Workload {
        name: "make",
        about: "make -j2 of twelve C files",
        unit: "s",
        needs: &[("gcc", "gcc"), ("make", "make")],
        kind: Kind::Shell("make -s -C c clean && make -s -j2 -C c"),
    },
    Workload {
        name: "python",
        about: "start of Python with the usual imports",
        unit: "s",
        needs: &[("python3", "python3")],
        kind: Kind::Shell("/usr/bin/python3 -c 'import ssl, json, http.client, email, asyncio'"),
    },
    Workload {
        name: "nginx-file",
        about: "nginx, a file opened for each request",
        unit: "s/request",
        needs: &[("nginx", "nginx-light"), ("wrk", "wrk")],
        kind: Kind::Server(servers::NGINX_FILE),
    },
    Workload {
        name: "nginx-cache",
        about: "nginx with open_file_cache: no traced call in a request",
        unit: "s/request",
        needs: &[("nginx", "nginx-light"), ("wrk", "wrk")],
        kind: Kind::Server(servers::NGINX_CACHE),
    },
    Workload {
        name: "redis",
        about: "redis, SET by 50 clients",
        unit: "s/request",
        needs: &[
            ("redis-server", "redis-server"),
            ("redis-benchmark", "redis-tools"),
        ],
        kind: Kind::Server(servers::REDIS),
    },
    Workload {
        name: "postgres",
        about: "PostgreSQL, pgbench -S by four clients",
        unit: "s/request",
        needs: &[("pgbench", "postgresql")],
        kind: Kind::Server(servers::POSTGRES),
    },
    Workload {
        name: "java",
        about: "start of a Java virtual machine",
        unit: "s",
        needs: &[("java", "default-jre-headless")],
        kind: Kind::Shell("java -version 2>&1"),
    },
];

/// The workloads of these names, all when there are none.
///
/// # Errors
/// A name that does not exist.
pub(crate) fn choose(names: &[String]) -> anyhow::Result<Vec<&'static Workload>> {
    if names.is_empty() {
        return Ok(ALL.iter().collect());
    }
    let named = |name: &String| {
        ALL.iter()
            .find(|workload| workload.name == name)
            .with_context(|| format!("there is no workload {name}; --list names them"))
    };
    names.iter().map(named).collect()
}

impl Workload {
    /// What has to be installed before this can be run.
    ///
    /// # Errors
    /// Names each program that is missing, and the package that has it.
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let missing: Vec<String> = self
            .needs
            .iter()
            .filter(|(program, _)| run::find(program).is_none())
            .map(|(program, package)| format!("{program} is missing: apt-get install {package}"))
            .collect();
        if !missing.is_empty() {
            bail!("{}", missing.join("; "));
        }
        Ok(())
    }

    /// Makes the files that it works on.
    pub(crate) fn prepare(&self, directory: &Path) -> anyhow::Result<Prepared> {
        let home = directory.join(self.name);
        std::fs::create_dir_all(&home)?;
        run::open_to_all(&home)?;
        match &self.kind {
            Kind::Loop(..) => {}
            Kind::Shell(_) => files(self.name, &home)?,
            Kind::Server(server) => (server.prepare)(&home)?,
        }
        Ok(Prepared { home })
    }

    /// Runs it once and gives what it measured.
    pub(crate) fn run(
        &self,
        variant: Variant,
        setup: &Setup,
        prepared: &Prepared,
    ) -> anyhow::Result<Sample> {
        let prefix = setup.prefix(variant);
        match &self.kind {
            Kind::Loop(call, passes, flags) => {
                let mut all = vec![setup.own.clone().into_os_string(), "loop".into()];
                let passes = setup.effort.of(*passes).to_string();
                all.extend([call, "--passes", &passes].map(OsString::from));
                all.extend(flags.iter().map(OsString::from));
                let outcome = to_end(command(&prefix, &all))?;
                let time = outcome.output.trim().parse();
                Ok(Sample {
                    time: time.context("a loop printed no number")?,
                    processor: outcome.processor,
                })
            }
            Kind::Shell(text) => {
                let mut command = command(&prefix, &["/bin/sh", "-c", text]);
                command.current_dir(&prepared.home);
                let outcome = to_end(command)?;
                Ok(Sample {
                    time: outcome.elapsed.as_secs_f64(),
                    processor: outcome.processor,
                })
            }
            Kind::Server(server) => server.measure(&prefix, &prepared.home, setup.effort),
        }
    }
}

/// What one run measured.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sample {
    /// In the workload's unit.
    pub(crate) time: f64,
    /// Processor time of the program and the tracer, seconds; of a server for each request.
    pub(crate) processor: f64,
}

/// A workload's directory.
pub(crate) struct Prepared {
    home: PathBuf,
}

fn files(name: &str, home: &Path) -> anyhow::Result<()> {
    match name {
        "find" => {
            for directory in 0..54 {
                let directory = home.join(format!("tree/{}/{}", directory % 6, directory));
                std::fs::create_dir_all(&directory)?;
                for file in 0..81 {
                    let text = format!("file {file}\n").repeat(1 + file * 7 % 90);
                    std::fs::write(directory.join(format!("{file}.txt")), text)?;
                }
            }
        }
        "script" => std::fs::write(home.join("configure.sh"), include_str!("configure.sh"))?,
        "make" => {
            let sources = home.join("c");
            std::fs::create_dir_all(&sources)?;
            std::fs::write(sources.join("Makefile"), include_str!("c.mk"))?;
            for number in 0..12 {
                let text = include_str!("unit.c").replace("NUMBER", &number.to_string());
                std::fs::write(sources.join(format!("unit{number}.c")), text)?;
            }
        }
        _ => {}
    }
    Ok(())
}
