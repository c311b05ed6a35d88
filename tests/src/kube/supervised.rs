//! Processes that end with the test process.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

use super::{KubeError, io};

/// Runs the program in the background and waits for the end of standard input,
/// a pipe whose other end the test process holds until it ends, for whatever
/// reason. A death signal (`PR_SET_PDEATHSIG`) would not do: it fires when the
/// *thread* that started the program ends, and each test is a thread. Nothing
/// of a test's control plane is worth a graceful end.
const SCRIPT: &str = r#"
"$@" </dev/null >>"$SUPERVISED_LOG" 2>&1 &
child=$!
echo $child >"$SUPERVISED_PID.new" && mv "$SUPERVISED_PID.new" "$SUPERVISED_PID"
cat >/dev/null
kill -KILL $child 2>/dev/null
wait $child
[ -z "$SUPERVISED_REMOVE" ] || rm -rf "$SUPERVISED_REMOVE"
"#;

/// A program that runs until this value is dropped or the test process ends.
pub struct Supervised {
    name: String,
    log: PathBuf,
    process: u32,
    shell: Child,
    held: Option<ChildStdin>,
}

impl Supervised {
    /// Starts `program`; its output goes to `folder/name.log`. When it has
    /// ended, `remove` is removed.
    ///
    /// # Errors
    /// [`KubeError::Io`].
    pub fn start(
        folder: &Path,
        name: &str,
        program: &Path,
        arguments: &[&str],
        environment: &[(&str, &str)],
        remove: Option<&Path>,
    ) -> Result<Self, KubeError> {
        let failed = |what: &str| io(&format!("cannot {what} {}", program.display()));
        let log = folder.join(format!("{name}.log"));
        let pid_file = folder.join(format!("{name}.pid"));
        let _ = fs::remove_file(&pid_file);
        let mut shell = Command::new("sh")
            .args(["-c", SCRIPT, "sh"])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .env("SUPERVISED_LOG", &log)
            .env("SUPERVISED_PID", &pid_file)
            .env("SUPERVISED_REMOVE", remove.unwrap_or(Path::new("")))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(failed("start"))?;
        let held = shell.stdin.take();
        let process = wait_for_pid(&pid_file).map_err(failed("learn the process id of"))?;
        Ok(Self {
            name: name.to_owned(),
            log,
            process,
            shell,
            held,
        })
    }

    /// Sends a signal, for example `KILL`.
    ///
    /// # Panics
    /// When the process has ended already.
    pub fn signal(&self, signal: &str) {
        let sent = Command::new("kill")
            .args([&format!("-{signal}"), &self.process.to_string()])
            .status();
        assert!(
            sent.is_ok_and(|status| status.success()),
            "cannot send {signal} to {}",
            self.name
        );
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process
    }

    /// Kills the program and waits for its end.
    pub fn end(&mut self) {
        drop(self.held.take());
        let _ = self.shell.wait();
    }

    /// Whether the program still runs.
    #[must_use]
    pub fn is_running(&self) -> bool {
        // Its command line would not do: that is empty for a moment in the midst of an exec, too.
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.process));
        stat.is_ok_and(|stat| {
            let state = stat
                .rsplit_once(") ")
                .and_then(|(_, rest)| rest.chars().next());
            state.is_some_and(|state| !"ZX".contains(state))
        })
    }

    /// Everything that the program wrote.
    #[must_use]
    pub fn log(&self) -> String {
        let mut text = Vec::new();
        let _ = File::open(&self.log).and_then(|mut file| file.read_to_end(&mut text));
        String::from_utf8_lossy(&text).into_owned()
    }

    /// The end of what the program wrote, for messages.
    #[must_use]
    pub fn log_end(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        let end = lines[lines.len().saturating_sub(30)..].join("\n");
        format!("--- {} ---\n{end}\n", self.name)
    }
}

impl Drop for Supervised {
    fn drop(&mut self) {
        self.end();
    }
}

fn wait_for_pid(file: &Path) -> std::io::Result<u32> {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        match fs::read_to_string(file) {
            Ok(text) => {
                return text
                    .trim()
                    .parse()
                    .map_err(|error| std::io::Error::new(std::io::ErrorKind::InvalidData, error));
            }
            Err(error) if Instant::now() >= deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(10)),
        }
    }
}
