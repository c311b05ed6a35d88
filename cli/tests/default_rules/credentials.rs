//! Secrets that are read by someone other than the application.

use crate::world::Case;

/// A service-account volume as the kubelet lays it out.
const SERVICE_ACCOUNT: &str = r#"
folder=/run/secrets/kubernetes.io/serviceaccount
mkdir -p $folder/..2026_01_01
echo secret > $folder/..2026_01_01/token
echo public > $folder/..2026_01_01/ca.crt
ln -s ..2026_01_01 $folder/..data
ln -s ..data/token $folder/token
ln -s ..data/ca.crt $folder/ca.crt
"#;

pub(crate) const CASES: &[Case] = &[
    Case {
        name: "cat and a shell read the service-account token",
        prepare: SERVICE_ACCOUNT,
        script: r#"
cat /var/run/secrets/kubernetes.io/serviceaccount/token
read -r token < /run/secrets/kubernetes.io/serviceaccount/..data/token
"#,
        reports: &[
            "picket_service_account_token_read",
            "picket_service_account_token_read",
        ],
    },
    Case {
        name: "tokens of EKS' for roles in AWS are read",
        prepare: r#"
for name in pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token eks.amazonaws.com/serviceaccount/token; do
    folder=/run/secrets/${name%/*}
    mkdir -p $folder/..2026_01_01
    echo secret > $folder/..2026_01_01/${name##*/}
    ln -s ..2026_01_01 $folder/..data
    ln -s ..data/${name##*/} $folder/${name##*/}
done
"#,
        script: r#"
cat /var/run/secrets/pods.eks.amazonaws.com/serviceaccount/eks-pod-identity-token
base64 /var/run/secrets/eks.amazonaws.com/serviceaccount/token
"#,
        reports: &[
            "picket_service_account_token_read",
            "picket_service_account_token_read",
        ],
    },
    Case {
        name: "utilities read the environment of another process",
        prepare: "",
        script: r#"
sleep 60 &
cat "/proc/$!/environ"
tr '\0' '\n' < "/proc/$!/environ"
kill $!
"#,
        reports: &["picket_environment_read", "picket_environment_read"],
    },
    Case {
        name: "a utility reads its own environment, and a file of that name",
        prepare: "echo text > environ",
        script: "cat /proc/self/environ environ; python3 -c 'import os; open(f\"/proc/{os.getppid()}/environ\").read()'",
        reports: &[],
    },
    Case {
        name: "python reads the token, cat the certificate, ls the folder",
        prepare: SERVICE_ACCOUNT,
        script: r#"
python3 -c 'open("/var/run/secrets/kubernetes.io/serviceaccount/token").read()'
cat /var/run/secrets/kubernetes.io/serviceaccount/ca.crt
ls -lR /var/run/secrets
test -s /var/run/secrets/kubernetes.io/serviceaccount/token
"#,
        reports: &[],
    },
    Case {
        name: "utilities read files with passwords and keys",
        prepare: "mkdir -p /home/u/.ssh /root/.aws; echo k > /home/u/.ssh/id_rsa; echo k > /root/.aws/credentials",
        script: "grep root /etc/shadow; cp /home/u/.ssh/id_rsa key; base64 /root/.aws/credentials",
        reports: &[
            "picket_credential_file_read",
            "picket_credential_file_read",
            "picket_credential_file_read",
        ],
    },
    Case {
        name: "a reader opens a secret by its file handle, which has no path",
        prepare: "mkdir -p /srv/bin; cp \"$(readlink -f \"$(command -v python3)\")\" /srv/bin/base64",
        script: r#"
/srv/bin/base64 -I -S -c '
import ctypes, os, struct
libc = ctypes.CDLL(None)
handle = ctypes.create_string_buffer(struct.pack("<Ii", 128, 0) + bytes(128))
assert libc.name_to_handle_at(-100, b"/etc/shadow", handle, ctypes.byref(ctypes.c_int()), 0) == 0
etc = os.open("/etc", os.O_RDONLY | os.O_CLOEXEC)
os.close(libc.open_by_handle_at(etc, handle, 0))'
"#,
        reports: &["picket_credential_file_read"],
    },
    Case {
        name: "an application reads its credentials, utilities files that are no secret",
        prepare: "mkdir -p /root/.aws /root/.ssh; echo k > /root/.aws/credentials; echo k > /root/.ssh/known_hosts",
        script: r#"
python3 -c 'open("/root/.aws/credentials").read()'
cat /etc/passwd /root/.ssh/known_hosts
getent passwd root
id
"#,
        reports: &[],
    },
    Case {
        name: "files with passwords and keys get other names",
        prepare: "mkdir -p /home/u/.ssh; echo k > /home/u/.ssh/id_rsa",
        script: r#"
ln /etc/shadow /etc/notes
ln -s ../../etc/gshadow upload.txt
python3 -c 'import os; os.link("/home/u/.ssh/id_rsa", "/home/u/key")'
"#,
        reports: &[
            "picket_credential_file_linked",
            "picket_credential_file_linked",
            "picket_credential_file_linked",
        ],
    },
    Case {
        name: "links lead to credentials' places, and to what is none",
        prepare: "mkdir -p /root/.ssh /root/.kube /srv/mnt; echo k > /srv/mnt/key; echo c > /root/.kube/config",
        script: r#"
ln -s /srv/mnt/key /root/.ssh/id_rsa
ln -s /root/.kube/config config
ln /etc/passwd /etc/passwd.lock
rm -f /etc/shadow-; ln /etc/shadow /etc/shadow-
"#,
        reports: &[],
    },
    Case {
        name: "a command line tool asks the metadata service",
        prepare: "loopback; cp /usr/bin/python3 curl",
        script: r#"
./curl - <<'PYTHON'
import socket
service = socket.create_server(("169.254.169.254", 80))
socket.create_connection(("169.254.169.254", 80)).close()
PYTHON
"#,
        reports: &["picket_metadata_service_tool"],
    },
    Case {
        name: "a script of bash's asks the metadata service",
        prepare: "loopback; echo ': > /dev/tcp/169.254.169.254/9' > job.sh",
        script: "bash job.sh || true",
        reports: &["picket_metadata_service_tool"],
    },
    Case {
        name: "an application asks the metadata service, a tool another one",
        prepare: "loopback; cp /usr/bin/python3 curl",
        script: r#"
cat > ask <<'PYTHON'
import socket, sys
service = socket.create_server((sys.argv[1], 80))
socket.create_connection((sys.argv[1], 80)).close()
PYTHON
python3 ask 169.254.169.254
./curl ask 127.0.0.1
"#,
        reports: &[],
    },
    Case {
        name: "a public name leads to the metadata service",
        prepare: "name_server",
        script: r#"
python3 -c 'import socket; socket.getaddrinfo("pictures.example.org", 80)'
getent ahostsv4 pictures.example.org
"#,
        // Once for a name in ten minutes.
        reports: &["picket_metadata_dns_rebind"],
    },
    Case {
        name: "names lead elsewhere, and the cloud's own name to its service",
        prepare: "name_server",
        script: r#"
python3 -c 'import socket; socket.getaddrinfo("other.example.org", 80)'
getent ahostsv4 pictures.internal
"#,
        reports: &[],
    },
];
