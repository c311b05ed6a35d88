//! The tracer in real containers: root file systems as people ship them, users that they run as,
//! every right taken away, and the seccomp profile that nodes give.
#![cfg(feature = "containers")]
#![allow(missing_docs)]

mod support;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use picket_events::EventType;
use picket_events::wire::Engine;
use support::*;

fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", stderr(&output));
    stdout(&output)
}

/// The tracer as it is shipped: a container made from scratch has no loader.
fn static_tracer() -> PathBuf {
    let folder = std::env::var_os("PICKET_BIN_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../dist/bin"),
        PathBuf::from,
    );
    let tracer = folder.join("picket-tracer");
    assert!(tracer.is_file(), "{tracer:?} is not there: run make build");
    tracer
}

fn place(from: &str, root: &Path, to: &str) {
    let to = root.join(to.trim_start_matches('/'));
    std::fs::create_dir_all(to.parent().unwrap()).unwrap();
    std::fs::copy(from, to).unwrap();
}

/// Copies a program of this machine and every library that it is linked to.
fn place_with_libraries(program: &str, root: &Path) {
    let mut files = BTreeSet::from([program.to_owned()]);
    for word in succeed(Command::new("ldd").arg(program)).split_whitespace() {
        if word.starts_with('/') {
            files.insert(word.to_owned());
        }
    }
    for file in files {
        place(&file, root, &file);
    }
}

/// A kind of root file system, and how a program in it reads the secret.
struct Root {
    name: &'static str,
    fill: fn(&Path),
    command: &'static [&'static str],
    /// The program that reads it, canonical.
    reader: &'static str,
}

/// One static program and nothing else: no shell, no loader, no `/etc`.
const SCRATCH: Root = Root {
    name: "scratch",
    fill: |root| place("/bin/busybox", root, "busybox"),
    command: &["/busybox", "cat", "/picket/secret"],
    reader: "/busybox",
};

/// A C library, its loader, accounts; still no shell.
const DISTROLESS: Root = Root {
    name: "distroless",
    fill: |root| {
        place_with_libraries("/bin/cat", root);
        let accounts = "root:x:0:0:root:/root:/sbin/nologin\n";
        std::fs::create_dir(root.join("etc")).unwrap();
        std::fs::write(root.join("etc/passwd"), accounts).unwrap();
    },
    command: &["cat", "/picket/secret"],
    reader: "/bin/cat",
};

/// musl's loader, a program linked to it, and busybox for everything else.
const ALPINE: Root = Root {
    name: "alpine",
    fill: |root| {
        let (source, program) = (root.join("main.c"), root.join("usr/bin/read-secret"));
        std::fs::create_dir_all(root.join("usr/bin")).unwrap();
        let text = "#include <stdio.h>\nint main(void) { int c; FILE *f = fopen(\"/picket/secret\", \"r\"); while ((c = getc(f)) != EOF) putchar(c); return 0; }\n";
        std::fs::write(&source, text).unwrap();
        succeed(
            Command::new("musl-gcc")
                .arg("-o")
                .arg(&program)
                .arg(&source),
        );
        std::fs::remove_file(source).unwrap();
        let loader = "/lib/ld-musl-x86_64.so.1";
        place(loader, root, loader);
        place("/bin/busybox", root, "bin/busybox");
        std::os::unix::fs::symlink("/bin/busybox", root.join("bin/sh")).unwrap();
    },
    command: &["sh", "-c", "read-secret"],
    reader: "/usr/bin/read-secret",
};

/// bash and coreutils in a merged `/usr`.
const DEBIAN: Root = Root {
    name: "debian",
    fill: |root| {
        for folder in ["bin", "lib", "lib64"] {
            std::fs::create_dir_all(root.join("usr").join(folder)).unwrap();
            std::os::unix::fs::symlink(format!("usr/{folder}"), root.join(folder)).unwrap();
        }
        for program in ["/usr/bin/bash", "/usr/bin/cat", "/usr/bin/env"] {
            place_with_libraries(program, root);
        }
    },
    command: &["env", "bash", "-c", "cat /picket/secret; exit 0"],
    reader: "/usr/bin/cat",
};

/// Makes an image of a root file system.
fn image(root: &Root, scratch: &Scratch) -> String {
    let (files, archive) = (scratch.path("root"), scratch.text("root.tar"));
    std::fs::create_dir(&files).unwrap();
    (root.fill)(&files);
    succeed(
        Command::new("tar")
            .arg("-C")
            .arg(&files)
            .args(["-cf", &archive, "."]),
    );
    let name = format!("localhost/picket-tracer-test-{}:dev", root.name);
    succeed(Command::new("podman").args(["import", "--quiet", &archive, &name]));
    name
}

/// podman's profile without what containerd's refuses: to who lacks the capabilities (podman lets
/// all unshare), and before 2.0 on an older kernel (`contrib/seccomp/seccomp_default.go` of its
/// sources).
fn containerds_profile(scratch: &Scratch) -> String {
    let script = "
import json, sys
profile = json.load(open('/usr/share/containers/seccomp.json'))
refused = {'process_vm_readv', 'process_vm_writev', 'pidfd_getfd', 'kcmp', 'process_madvise', 'clone3',
    'unshare', 'setns', 'mount', 'umount', 'umount2', 'pivot_root', 'move_mount', 'mount_setattr', 'open_tree',
    'fsopen', 'fsconfig', 'fsmount', 'fspick', 'bpf', 'perf_event_open', 'fanotify_init', 'lookup_dcookie',
    'name_to_handle_at', 'open_by_handle_at', 'sethostname', 'setdomainname', 'quotactl', 'userfaultfd',
    'keyctl', 'add_key', 'request_key', 'io_uring_setup', 'io_uring_enter', 'io_uring_register'}
profile['defaultErrnoRet'], profile['defaultErrno'] = 1, 'EPERM'
for rule in profile['syscalls']:
    if rule['action'] == 'SCMP_ACT_ALLOW':
        rule['names'] = [name for name in rule['names'] if name not in refused]
profile['syscalls'] = [rule for rule in profile['syscalls'] if rule['names']]
json.dump(profile, open(sys.argv[1], 'w'))
";
    let path = scratch.text("profile.json");
    succeed(Command::new("python3").args(["-c", script, &path]));
    path
}

/// Runs the root's command in a container, traced, and looks at what is told.
fn check(root: &Root, image: &str, user: &str, limits: &[&str], scratch: &Scratch) {
    let what = format!("{} as {user} with {limits:?}", root.name);
    let shared = scratch.path("shared");
    let _ = std::fs::remove_dir_all(&shared);
    std::fs::create_dir(&shared).unwrap();
    set_mode(&shared, 0o755);
    std::fs::copy(static_tracer(), shared.join("picket-tracer")).unwrap();
    std::fs::write(shared.join("secret"), "secret").unwrap();
    let agent = Agent::start_at(shared.join("agent.sock"));
    let mut command = Command::new("podman");
    command.args(["run", "--rm", "--network", "none", "--user", user]);
    command
        .arg("-v")
        .arg(format!("{}:/picket:ro", shared.display()));
    command.args(limits).arg(image);
    command.args(["/picket/picket-tracer", "trace", "--container", "web"]);
    command.args([
        "--socket",
        "/picket/agent.sock",
        "--interest",
        "exec,open",
        "--",
    ]);
    let output = output(command.args(root.command));
    assert_eq!(
        (stdout(&output).as_str(), stderr(&output).as_str()),
        ("secret", ""),
        "{what}"
    );
    assert_eq!(output.status.code(), Some(0), "{what}");
    let record = agent.finish();
    let hello = agent.heard()[0].hello.clone().unwrap();
    assert_eq!(hello.engine, Engine::UserNotification, "{what}");
    let open = record.about(EventType::Open, "/picket/secret");
    let images = record.images();
    assert!(
        images
            .iter()
            .any(|(event, image)| event.pid == open.pid && image.file.path == root.reader),
        "{what}: {images:?}"
    );
}

#[test]
fn every_kind_of_root_is_traced_with_every_right_taken_away() {
    need_root();
    for root in [SCRATCH, DISTROLESS, ALPINE, DEBIAN] {
        let scratch = Scratch::new(&format!("root-{}", root.name));
        let image = image(&root, &scratch);
        let profile = format!("seccomp={}", containerds_profile(&scratch));
        let limits = ["--cap-drop", "ALL", "--read-only", "--security-opt"];
        let options = ["no-new-privileges", "--security-opt", &profile];
        check(
            &root,
            &image,
            "1000:1000",
            &[&limits[..], &options].concat(),
            &scratch,
        );
    }
}

#[test]
fn every_user_is_traced() {
    need_root();
    let scratch = Scratch::new("root-users");
    let image = image(&DEBIAN, &scratch);
    for (user, limits) in [
        ("0:0", &[][..]),
        ("0:0", &["--cap-drop", "ALL"]),
        (
            "0:0",
            &["--cap-drop", "ALL", "--security-opt", "no-new-privileges"],
        ),
        ("1000:1000", &[]),
        (
            "2000000000:2000000000",
            &["--cap-drop", "ALL", "--read-only"],
        ),
    ] {
        check(&DEBIAN, &image, user, limits, &scratch);
    }
}

/// A container that is removed with all that runs in it.
struct Running(String);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = output(Command::new("podman").args(["rm", "-f", "-t", "0", &self.0]));
    }
}

/// Command lines of what runs in a container, as the machine sees them, with their ids.
fn processes(container: &Running) -> Vec<(u32, String)> {
    let top = ["top", &container.0, "hpid", "args"];
    let listed = succeed(Command::new("podman").args(top));
    let rows = listed.lines().skip(1);
    rows.filter_map(|row| {
        let (pid, line) = row.trim().split_once(' ')?;
        Some((pid.parse().ok()?, line.trim().to_owned()))
    })
    .collect()
}

fn parent(pid: u32) -> Option<u32> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    line.trim().parse().ok()
}

#[test]
fn a_probe_that_takes_too_long_is_killed_and_leaves_nothing() {
    need_root();
    let scratch = Scratch::new("probe");
    let image = image(&SCRATCH, &scratch);
    let shared = scratch.path("shared");
    std::fs::create_dir(&shared).unwrap();
    set_mode(&shared, 0o755);
    std::fs::copy(static_tracer(), shared.join("picket-tracer")).unwrap();
    let agent = Agent::start_at(shared.join("agent.sock"));
    let traced = |container: &str, engine: &str| -> Vec<String> {
        let words = format!(
            "/picket/picket-tracer trace --socket /picket/agent.sock --engine {engine} \
             --container {container} -- /busybox"
        );
        words.split_whitespace().map(str::to_owned).collect()
    };
    for engine in ["notification", "ptrace"] {
        let name = format!("picket-tracer-test-probe-{engine}-{}", std::process::id());
        let volume = format!("{}:/picket:ro", shared.display());
        let mut command = Command::new("podman");
        command.args(["run", "-d", "--network", "none", "--cap-drop", "ALL"]);
        command.args([
            "--user",
            "1000:1000",
            "-v",
            &volume,
            "--name",
            &name,
            &image,
        ]);
        succeed(command.args(traced(engine, engine)).args(["sleep", "1000"]));
        let container = Running(name);
        let before = || {
            let all = processes(&container);
            (all.len() == 3).then(|| all.iter().map(|(pid, _)| *pid).collect::<BTreeSet<_>>())
        };
        eventually("the application", || before().is_some());
        let before = before().unwrap();

        let mut exec = Command::new("podman");
        exec.args(["exec", &container.0]);
        exec.args(traced(&format!("{engine}:livenessProbe"), engine));
        let mut probe = start(exec.args(["sleep", "500"]));
        let keeper = || {
            let all = processes(&container);
            let sleeps = all.iter().any(|(_, line)| line == "/busybox sleep 500");
            let new = all.iter().map(|(pid, _)| *pid);
            let new: Vec<u32> = new.filter(|pid| !before.contains(pid)).collect();
            // What podman has started, and none of ours has.
            let first = |pid: &&u32| parent(**pid).is_some_and(|above| !new.contains(&above));
            new.iter().find(first).copied().filter(|_| sleeps)
        };
        eventually("the probe", || keeper().is_some());
        // As kubelet has it done to a probe that takes too long: its process, and no other.
        let keeper = keeper().unwrap().to_string();
        succeed(Command::new("kill").args(["-KILL", &keeper]));
        wait(&mut probe);
        let left = || {
            processes(&container)
                .iter()
                .map(|(pid, _)| *pid)
                .collect::<BTreeSet<_>>()
        };
        eventually("the probe's end", || left() == before);
    }
    drop(agent);
}
