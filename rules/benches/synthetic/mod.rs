//! A large policy that a generator writes.

use std::fmt::Write;

/// 150 rules on opens and 150 on execs: lists of names and paths, globs, ancestors, flags.
pub(crate) fn policy() -> String {
    let mut text = "macros:\n  - id: TOOLS\n    values: [".to_owned();
    for number in 0..300 {
        let _ = write!(text, "tool{number}, ");
    }
    text.push_str("last]\nrules:\n");
    for number in 0..150 {
        let open = match number % 4 {
            0 => format!(
                "open.file.path in [ \"/etc/app{number}/conf\", ~\"/var/lib/app{number}/**\", ~\"/home/*/.app{number}/*\" ] && open.flags & (O_CREAT|O_RDWR|O_WRONLY) > 0"
            ),
            1 => format!(
                "open.file.name in [ \"secret{number}\", \"key{number}\" ] && process.file.name not in TOOLS"
            ),
            2 => format!(
                "open.file.path == \"/etc/file{number}\" && process.ancestors.file.name == \"sshd\""
            ),
            _ => format!("open.file.path =~ \"/opt/app{number}/*/bin/*\" && process.uid == 0"),
        };
        let exec = match number % 5 {
            0 => format!(
                "exec.file.name in [ \"prog{number}\", \"other{number}\" ] && exec.args =~ \"*--flag{number}*\""
            ),
            1 => format!(
                "exec.file.path in [ ~\"/tmp/d{number}/**\", ~\"/dev/d{number}/**\" ] && process.ancestors.file.name in TOOLS"
            ),
            2 => format!(
                "exec.comm in [ \"a{number}\", \"b{number}\" ] && exec.args_flags in [ \"x\", \"y\" ]"
            ),
            3 => format!("exec.file.name == \"sh{number}\" && process.parent.file.name in TOOLS"),
            _ => format!(
                "process.ancestors.file.path == \"/usr/bin/parent{number}\" && exec.file.name in TOOLS"
            ),
        };
        let _ = write!(
            text,
            "  - id: open{number}\n    expression: >-\n      {open}\n"
        );
        let _ = write!(
            text,
            "  - id: exec{number}\n    expression: >-\n      {exec}\n"
        );
    }
    text
}
