//! How a workload is run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use picket_agent::rulefiles::RuleFiles;
use picket_events::{Interest, OpenInterest};
use serde::Serialize;

use crate::reader::{self, Reader};
use crate::workload::Effort;

/// One way to run a workload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Variant {
    /// As it is.
    Untraced,
    /// Under the filter of `all-opens`, changed to let every call pass.
    Filter,
    /// Under the filter of `all-opens`, behind a tracer that lets every call run and does nothing
    /// else: what the stops cost, whatever is made of them.
    Stops,
    /// Traced, with what the default rules can use.
    DefaultRules,
    /// Traced, with that and every open.
    AllOpens,
    /// The same in Enforce mode with rules that deny some opens and an exec, so that the tracer
    /// makes every open in the program's place.
    Deny,
    /// `strace -f --seccomp-bpf` of the calls that `all-opens` stops for whatever their
    /// arguments.
    Strace,
    /// `strace -f --seccomp-bpf` of the calls that Datadog's eBPF-less tracer traps: two
    /// ptrace stops for each, as there.
    TwoStops,
}

impl Variant {
    /// All but the untraced run.
    pub(crate) const OTHERS: [Variant; 7] = [
        Variant::Filter,
        Variant::Stops,
        Variant::DefaultRules,
        Variant::AllOpens,
        Variant::Deny,
        Variant::Strace,
        Variant::TwoStops,
    ];

    /// As it stands in tables.
    pub(crate) const fn title(self) -> &'static str {
        match self {
            Variant::Untraced => "untraced",
            Variant::Filter => "filter only",
            Variant::Stops => "stops only",
            Variant::DefaultRules => "default rules",
            Variant::AllOpens => "all opens",
            Variant::Deny => "deny rules",
            Variant::Strace => "strace, same calls",
            Variant::TwoStops => "strace, incumbent's calls",
        }
    }
}

/// The calls that `cws-instrumentation` 7.68 traps on x86-64. Its filter does not look at
/// arguments, and each call costs an entry and an exit stop, as strace's do.
const INCUMBENT: &str = "?open,openat,?openat2,?creat,name_to_handle_at,open_by_handle_at,\
memfd_create,fcntl,dup,?dup2,dup3,close,?unlink,unlinkat,?rmdir,?rename,renameat,renameat2,\
?mkdir,mkdirat,?utime,?utimes,utimensat,?futimesat,?link,linkat,?symlink,symlinkat,?chmod,fchmod,\
fchmodat,?fchmodat2,?chown,?lchown,fchown,fchownat,mount,umount2,?pipe,pipe2,execve,execveat,chdir,\
fchdir,setuid,setgid,setreuid,setresuid,setregid,setresgid,setfsuid,setfsgid,capset,init_module,\
finit_module,delete_module,setrlimit,prlimit64,prctl,socket,bind,connect,accept,accept4,\
setsockopt,ioctl";

/// What the variants need to run.
#[derive(Debug)]
pub(crate) struct Setup {
    /// This program.
    pub(crate) own: PathBuf,
    /// How much of each workload is run.
    pub(crate) effort: Effort,
    tracer: Option<PathBuf>,
    /// Do without what kernels after 5.10 offer a tracer.
    like_old_kernels: bool,
    socket: PathBuf,
    /// Where the agent with the rules that deny listens.
    denying: PathBuf,
    /// What those rules can use, and the default ones.
    denials: Interest,
    /// What the default rules can use.
    pub(crate) defaults: Interest,
    /// That and every open.
    pub(crate) all_opens: Interest,
    containers: AtomicU32,
}

impl Setup {
    pub(crate) fn new(
        reader: &Reader,
        denying: &Reader,
        tracer: Option<PathBuf>,
        effort: Effort,
    ) -> anyhow::Result<Self> {
        let directory = denying.socket().parent().unwrap_or(Path::new("."));
        let denials = reader::denying(directory)?.load().rules.interest();
        let defaults = RuleFiles::default().load().rules.interest();
        let mut all_opens = defaults;
        all_opens.insert_open(OpenInterest::All);
        Ok(Self {
            own: std::env::current_exe()?,
            effort,
            tracer,
            like_old_kernels: false,
            socket: reader.socket().to_owned(),
            denying: denying.socket().to_owned(),
            denials,
            defaults,
            all_opens,
            containers: AtomicU32::new(0),
        })
    }

    /// Has the tracer do without what kernels after 5.10 offer, or not.
    pub(crate) fn like_old_kernels(self, like_old_kernels: bool) -> Self {
        Self {
            like_old_kernels,
            ..self
        }
    }

    /// The program whose size counts.
    pub(crate) fn tracer(&self) -> Option<&Path> {
        self.tracer.as_deref()
    }

    /// What stands before a command to run it so.
    pub(crate) fn prefix(&self, variant: Variant) -> Vec<OsString> {
        match variant {
            Variant::Untraced => Vec::new(),
            Variant::Filter => self.bare("filter-only", &[]),
            Variant::Stops => self.bare("stops-only", self.age()),
            Variant::DefaultRules => self.traced(&self.socket, &self.defaults),
            Variant::AllOpens => self.traced(&self.socket, &self.all_opens),
            Variant::Deny => self.traced(&self.denying, &self.denials),
            Variant::Strace => {
                let calls = picket_tracer::bench::unconditional_calls(&self.all_opens);
                // strace refuses names that it does not know, unless told.
                let calls: Vec<String> = calls.iter().map(|name| format!("?{name}")).collect();
                strace(&calls.join(","))
            }
            Variant::TwoStops => strace(INCUMBENT),
        }
    }

    /// One of this program's own ways to run a command under the filter of `all-opens`.
    fn bare(&self, part: &str, flags: &[&str]) -> Vec<OsString> {
        let interest = self.all_opens.to_string();
        let mut prefix = vec![self.own.clone().into_os_string()];
        prefix.extend([part, "--interest", &interest].map(OsString::from));
        prefix.extend(flags.iter().map(OsString::from));
        prefix.push("--".into());
        prefix
    }

    /// The flag for a tracer that is to do without what later kernels offer.
    fn age(&self) -> &'static [&'static str] {
        match self.like_old_kernels {
            true => &["--like-old-kernels"],
            false => &[],
        }
    }

    fn traced(&self, socket: &Path, interest: &Interest) -> Vec<OsString> {
        let mut prefix = match &self.tracer {
            Some(tracer) => vec![tracer.clone().into_os_string()],
            None => vec![
                self.own.clone().into_os_string(),
                "tracer".into(),
                "--".into(),
            ],
        };
        // A container's first key binds it, so each run is a container of its own.
        let number = self.containers.fetch_add(1, Ordering::Relaxed);
        prefix.extend([
            "trace".into(),
            "--require-tracing".into(),
            "--socket".into(),
        ]);
        prefix.push(socket.as_os_str().to_owned());
        prefix.extend(["--container".into(), format!("bench-{number}").into()]);
        prefix.extend(self.age().iter().map(OsString::from));
        prefix.extend([
            "--interest".into(),
            interest.to_string().into(),
            "--".into(),
        ]);
        prefix
    }
}

fn strace(calls: &str) -> Vec<OsString> {
    let words = [
        "strace",
        "-f",
        "-qq",
        "--seccomp-bpf",
        "-o",
        "/dev/null",
        "-e",
    ];
    let mut prefix: Vec<OsString> = words.iter().map(OsString::from).collect();
    prefix.push(format!("trace={calls}").into());
    prefix.extend(["-e".into(), "signal=none".into(), "--".into()]);
    prefix
}
