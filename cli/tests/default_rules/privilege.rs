//! Ways out of the container, and ways to more rights in it.

use crate::world::Case;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "a connection to a container runtime's socket",
        prepare: "",
        script: r#"
python3 - <<'PYTHON'
import socket
runtime = socket.socket(socket.AF_UNIX)
runtime.bind("/run/docker.sock")
runtime.listen()
socket.socket(socket.AF_UNIX).connect("/var/run/docker.sock")
PYTHON
"#,
        reports: &["picket_container_socket_accessed"],
    },
    Case {
        name: "a connection to a container runtime's socket below the node's folder",
        prepare: "mkdir -p /srv/host/run/containerd",
        script: r#"
python3 - <<'PYTHON'
import os, socket
runtime = socket.socket(socket.AF_UNIX)
runtime.bind("/srv/host/run/containerd/containerd.sock")
runtime.listen()
os.symlink("host/run/containerd/containerd.sock", "/srv/innocent.sock")
socket.socket(socket.AF_UNIX).connect("innocent.sock")
PYTHON
"#,
        reports: &["picket_container_socket_accessed"],
    },
    Case {
        name: "a connection to an application's socket",
        prepare: "",
        script: r#"
python3 - <<'PYTHON'
import socket
application = socket.socket(socket.AF_UNIX)
application.bind("/run/app.sock")
application.listen()
socket.socket(socket.AF_UNIX).connect("/var/run/app.sock")
PYTHON
"#,
        reports: &[],
    },
    Case {
        name: "a command line tool asks the kubelet",
        prepare: "loopback; cp /usr/bin/python3 curl",
        script: r#"
./curl -c 'import socket; socket.socket().connect_ex(("127.0.0.1", 10250))'
"#,
        reports: &["picket_kubelet_asked"],
    },
    Case {
        name: "an application asks the kubelet, a tool something else",
        prepare: "loopback; cp /usr/bin/python3 curl",
        script: r#"
python3 -c 'import socket; socket.socket().connect_ex(("127.0.0.1", 10250))'
./curl -c 'import socket; socket.socket().connect_ex(("127.0.0.1", 443))'
"#,
        reports: &[],
    },
    Case {
        name: "runc and a cgroup's release agent are opened for writing",
        prepare: "touch runc; mkdir cgroup; touch cgroup/release_agent",
        script: "echo x >> runc; echo /cmd > cgroup/release_agent",
        reports: &["picket_release_agent_modified", "picket_runc_overwritten"],
    },
    Case {
        name: "runc is opened for writing through the process that runs it",
        prepare: "cp /usr/bin/sleep runc",
        script: r#"
./runc 60 &
python3 - $! <<'PYTHON'
import errno, os, sys, time
program = f"/proc/{sys.argv[1]}/exe"
while not os.readlink(program).endswith("/runc"):
    time.sleep(0.01)
try:
    os.open(program, os.O_WRONLY)
except OSError as error:
    # While it runs, the kernel refuses; an attacker waits until it does not.
    assert error.errno == errno.ETXTBSY, error
PYTHON
kill $!
"#,
        reports: &["picket_runc_overwritten"],
    },
    Case {
        name: "runc and a cgroup's files are read, and its limit is written",
        prepare: "touch runc; mkdir cgroup; touch cgroup/release_agent",
        script: "cat runc cgroup/release_agent; ls -l /proc/self/exe; echo 1 > cgroup/memory.max",
        reports: &[],
    },
    Case {
        name: "a file is opened for writing by which the kernel is told what to run",
        prepare: "",
        // To open it changes nothing yet.
        script: r#"python3 -c 'open("/proc/sys/kernel/core_pattern", "r+b", buffering=0)'"#,
        reports: &["picket_kernel_helper_modified"],
    },
    Case {
        name: "such a file is read, and others written",
        prepare: "mkdir -p proc/sys/kernel",
        script: r#"
cat /proc/sys/kernel/core_pattern
echo x > proc/sys/kernel/core_pattern
python3 -c 'open("/proc/sys/net/core/somaxconn", "r+b", buffering=0)' || true
"#,
        reports: &[],
    },
    Case {
        name: "a program is given capabilities that make whoever runs it root, and others",
        prepare: "cp /usr/bin/true setcap; cp /usr/bin/true tool",
        script: "./setcap cap_setuid+ep tool; ./setcap cap_net_bind_service=+ep tool",
        reports: &["picket_capability_given"],
    },
    Case {
        name: "a file system is mounted",
        prepare: "mkdir folder",
        script: "mount -t tmpfs tmpfs folder",
        reports: &["picket_mount"],
    },
    Case {
        name: "mounts are listed and one is given up",
        prepare: "mkdir folder; mount -t tmpfs tmpfs folder",
        script: "mount; cat /proc/self/mountinfo; umount folder",
        reports: &[],
    },
    Case {
        name: "a process asks to handle its own page faults",
        prepare: "",
        script: r#"
python3 - <<'PYTHON'
import ctypes, os
USERFAULTFD = {"x86_64": 323, "aarch64": 282}[os.uname().machine]
ctypes.CDLL(None).syscall(USERFAULTFD, os.O_CLOEXEC)
PYTHON
"#,
        reports: &["picket_userfaultfd"],
    },
    Case {
        name: "the device for page faults is opened",
        prepare: "mkdir dev; mknod dev/null c 1 3; touch dev/userfaultfd; mount --bind dev /dev",
        script: r#"python3 -c 'import os; os.open("/dev/userfaultfd", os.O_RDWR)'"#,
        reports: &["picket_userfaultfd_device"],
    },
    Case {
        name: "a user runs a program that makes it root",
        prepare: "cp /usr/bin/true elevate; chmod 4755 elevate",
        script: "setpriv --reuid 1000 --regid 1000 --clear-groups ./elevate",
        reports: &["picket_setuid_program"],
    },
    Case {
        name: "a process with the right to do so becomes root",
        prepare: "",
        script: r#"
setpriv --reuid 1000 --regid 1000 --clear-groups --inh-caps +setuid --ambient-caps +setuid \
    python3 -c 'import os; os.setuid(0); assert os.getuid() == 0'
"#,
        reports: &["picket_became_root"],
    },
    Case {
        name: "root becomes a user, changes to itself, and a user stays one",
        prepare: "cp /usr/bin/true tool; chown 1000:1000 tool; chmod 4755 tool",
        script: r#"
setpriv --reuid 1000 --regid 1000 --clear-groups true
setpriv --reuid 0 true
python3 -c 'import os; os.seteuid(1000); os.seteuid(0)'
setpriv --reuid 1000 --regid 1000 --clear-groups ./tool
"#,
        reports: &[],
    },
    Case {
        name: "a program of root's gets the setuid bit",
        prepare: "cp /usr/bin/true tool",
        script: "chmod u+s tool",
        reports: &["picket_setuid_bit_set"],
    },
    Case {
        name: "other bits are set, and a user's program gets the setuid bit",
        prepare: "cp /usr/bin/true tool; cp tool other; chown 1000 other",
        script: "chmod 0755 tool; chmod g+s tool; chmod u+s other",
        reports: &[],
    },
    Case {
        name: "a command line asks for a root of one's own, another for the node's namespaces",
        prepare: "for tool in unshare nsenter docker chroot mknod debugfs; do cp /usr/bin/true $tool; done",
        script: r#"
./unshare -Ur id
./unshare -rUm id
./nsenter -t 1 -m sh
./nsenter --mount=/proc/1/ns/mnt sh
./docker run --privileged image
./chroot /host sh
./mknod sda1 b 8 1
./debugfs -w /dev/sda1
"#,
        reports: &[
            "picket_namespace_entered",
            "picket_namespace_entered",
            "picket_namespace_entered",
            "picket_namespace_entered",
            "picket_namespace_entered",
            "picket_namespace_entered",
            "picket_namespace_entered",
            "picket_namespace_entered",
        ],
    },
    Case {
        name: "command lines that ask for less",
        prepare: "for tool in unshare nsenter docker chroot mknod debugfs; do cp /usr/bin/true $tool; done",
        script: r#"
./chroot --userspec=app /srv/app ./run
./mknod null c 1 3
./debugfs disk.image
./unshare --pid --fork --root=/srv ./my-runner
./nsenter -t 1234 -n ip addr
./docker run -v /data:/data image
"#,
        reports: &[],
    },
    Case {
        name: "files that grant rights are written, replaced and linked",
        prepare: "mkdir -p /etc/sudoers.d; rm -rf /etc/security",
        script: r#"
echo '%users ALL=(ALL) NOPASSWD: ALL' > /etc/sudoers.d/users
echo permit nopass :users > /etc/doas.conf.new
mv /etc/doas.conf.new /etc/doas.conf
ln -s /srv/folder /etc/security
"#,
        reports: &[
            "picket_sensitive_file_linked_privilege",
            "picket_sensitive_file_replaced_privilege",
            "picket_sensitive_file_written_privilege",
        ],
    },
    Case {
        name: "files that grant rights are read, and others are written",
        prepare: "mkdir -p /etc/sudoers.d etc; touch /etc/sudoers",
        script: "cat /etc/sudoers /etc/nsswitch.conf; ls /etc/pam.d; echo x > etc/sudoers; echo x >> /etc/hosts",
        reports: &[],
    },
];
