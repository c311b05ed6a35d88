"""Types into an interactive bash on a terminal of its own, as a person does.

Arguments: what is put in front of each command, nothing for an untraced run. Ends with 0 when
bash answered at every step as it does without a tracer.
"""

import os
import pty
import select
import shlex
import signal
import sys
import time

LIMIT = 20
PREFIX = "".join(shlex.quote(word) + " " for word in sys.argv[1:])
CTRL_C, CTRL_D, CTRL_Z = "\x03", "\x04", "\x1a"

shell, terminal = pty.fork()
if shell == 0:
    # Whoever runs the tests may ignore some.
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
        signal.signal(number, signal.SIG_DFL)
    os.environ["PS1"] = "outer@ "
    os.environ["TERM"] = "dumb"
    os.execvp("bash", ["bash", "--norc", "--noprofile", "-i"])

seen = ""


def expect(text):
    """Waits for text, and forgets what came up to its end."""
    global seen
    end = time.time() + LIMIT
    while text not in seen:
        left = end - time.time()
        if left <= 0 or not select.select([terminal], [], [], left)[0]:
            sys.exit(f"waited for {text!r}, saw {seen!r}")
        seen += os.read(terminal, 4096).decode(errors="replace").replace("\r", "")
    seen = seen.split(text, 1)[1]


def send(keys):
    os.write(terminal, keys.encode())


def line(command, prompt="outer@ "):
    expect(prompt)
    send(command + "\n")


def state(group):
    """States of the group's processes."""
    found = []
    for name in os.listdir("/proc"):
        try:
            fields = open(f"/proc/{name}/stat").read().rsplit(") ", 1)[1].split()
        except (OSError, IndexError):
            continue
        if fields[2] == str(group):
            found.append((name, fields[0]))
    return found


def until(what, holds):
    end = time.time() + LIMIT
    while not holds():
        if time.time() > end:
            sys.exit(f"waited for {what}, saw {seen!r}")
        time.sleep(0.01)


def foreground(program):
    """Waits until a group of another shell's making is in front and runs the program."""

    def is_there():
        group = os.tcgetpgrp(terminal)
        for pid, _ in state(group):
            try:
                if open(f"/proc/{pid}/comm").read().strip() == program:
                    return True
            except OSError:
                pass
        return False

    until(f"{program} in front", is_there)


# A job that is stopped, goes on behind, is fetched and interrupted, while another group runs.
line(f"{PREFIX}sh -c 'while :; do sleep 0.05; done' &")
line(f"{PREFIX}sleep 1000")
foreground("sleep")
send(CTRL_Z)
expect("Stopped")
line("bg")
line("jobs")
expect("Running")
expect("Running")
line("fg %2")
foreground("sleep")
send(CTRL_C)
line("echo code=$?")
expect("\ncode=130\n")
line("kill %1; wait %1; echo code=$?")
expect("\ncode=143\n")

# A job that reads from the terminal behind our back is stopped, and reads when it is in front.
line(f"{PREFIX}cat &")
line("until jobs %1 | grep -q Stopped; do sleep 0.05; done; jobs")
expect("Stopped")
line("fg")
foreground("cat")
send("typed\n")
expect("typed\ntyped\n")
send(CTRL_D)
line("echo code=$?")
expect("\ncode=0\n")

# A shell within: with jobs of its own, stopped as a whole and fetched again.
line(f"PS1='inner@ ' {PREFIX}bash --norc --noprofile -i")
line("sleep 1000", "inner@ ")
foreground("sleep")
send(CTRL_Z)
expect("Stopped")
line("fg", "inner@ ")
foreground("sleep")
send(CTRL_C)
line("echo code=$?", "inner@ ")
expect("\ncode=130\n")
line("sleep 1000 | cat &", "inner@ ")
line("kill %1; wait %1; echo gone", "inner@ ")
expect("\ngone\n")
line("suspend", "inner@ ")
expect("Stopped")
line("fg")
expect("\n")
send("\n")
line("echo back", "inner@ ")
expect("\nback\n")
line("exit 9", "inner@ ")
line("echo code=$?")
expect("\ncode=9\n")

# Quit and end of file.
line(f"{PREFIX}sh -c 'ulimit -c 0; exec sleep 1000'")
foreground("sleep")
send("\x1c")
line("echo code=$?")
expect("\ncode=131\n")
line("exit 4")
_, status = os.waitpid(shell, 0)
sys.exit(0 if os.waitstatus_to_exitcode(status) == 4 else f"bash ended with {status:#x}")
