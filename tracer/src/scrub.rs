//! What never leaves the tracer: secrets in arguments, values of environment variables.

use std::borrow::Cow;

/// What stands in place of a secret.
const MASK: &str = "********";

/// Words in the name of an option (or of a `NAME=value` argument) that make its value secret.
const SECRET_WORDS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "apikey",
    "api-key",
    "api_key",
    "accesskey",
    "access-key",
    "access_key",
    "private-key",
    "private_key",
    "credential",
    "auth",
];

/// Environment variables whose values matter to a detection and hold no secrets.
const VALUES_SHOWN: &[&str] = &[
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "LD_AUDIT",
    "PATH",
    "HISTFILE",
    "HISTSIZE",
    "HISTFILESIZE",
    "HISTCONTROL",
    "HISTIGNORE",
    "GLIBC_TUNABLES",
    "PROMPT_COMMAND",
    "BASH_ENV",
    "ENV",
    "PYTHONPATH",
    "PYTHONSTARTUP",
    "PERL5LIB",
    "PERL5OPT",
    "RUBYOPT",
    "NODE_OPTIONS",
    "JAVA_TOOL_OPTIONS",
];

/// Masks the secrets in an argument vector.
pub(crate) fn arguments(argv: &mut [String]) {
    let mut value_is_secret = false;
    for argument in argv.iter_mut().skip(1) {
        if std::mem::take(&mut value_is_secret) && !argument.starts_with('-') {
            *argument = MASK.to_owned();
            continue;
        }
        if let Some((name, value)) = argument.split_once('=') {
            if is_secret_name(name) && !value.is_empty() {
                *argument = format!("{name}={MASK}");
                continue;
            }
        } else if argument.starts_with('-') && is_secret_name(argument) {
            value_is_secret = true;
            continue;
        }
        if let Cow::Owned(masked) = header(argument) {
            *argument = masked;
        }
        if let Cow::Owned(masked) = userinfo(argument) {
            *argument = masked;
        }
    }
}

fn is_secret_name(name: &str) -> bool {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let name = name.trim_start_matches('-').to_ascii_lowercase();
    name.chars().all(is_word) && SECRET_WORDS.iter().any(|word| name.contains(word))
}

/// `Authorization: Bearer …` and the like, as `curl -H` takes them.
fn header(argument: &str) -> Cow<'_, str> {
    match argument.split_once(':') {
        Some((name, value)) if is_secret_name(name) && value.starts_with(' ') => {
            Cow::Owned(format!("{name}: {MASK}"))
        }
        _ => Cow::Borrowed(argument),
    }
}

/// The password in each `scheme://user:password@host`.
fn userinfo(argument: &str) -> Cow<'_, str> {
    let mut masked = String::new();
    let mut rest = argument;
    while let Some(start) = rest.find("://") {
        let (before, after) = rest.split_at(start + 3);
        masked.push_str(before);
        let end = after
            .find(['/', '?', '#', ' ', '"', '\''])
            .unwrap_or(after.len());
        let authority = &after[..end];
        match authority.rsplit_once('@') {
            Some((info, host)) => {
                match info.split_once(':') {
                    Some((user, _)) => masked.push_str(&format!("{user}:{MASK}")),
                    // A lone user part is often a token (`https://TOKEN@host`).
                    None => masked.push_str(MASK),
                }
                masked.push('@');
                masked.push_str(host);
            }
            None => masked.push_str(authority),
        }
        rest = &after[end..];
    }
    if masked.is_empty() {
        return Cow::Borrowed(argument);
    }
    masked.push_str(rest);
    if masked == argument {
        Cow::Borrowed(argument)
    } else {
        Cow::Owned(masked)
    }
}

/// What of an environment entry may be told: its name, or all of it.
pub(crate) fn environment(entry: &[u8]) -> &[u8] {
    let end = entry.iter().position(|byte| *byte == b'=');
    let name = &entry[..end.unwrap_or(entry.len())];
    let is_shown = VALUES_SHOWN.iter().any(|shown| shown.as_bytes() == name);
    if is_shown { entry } else { name }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubbed(line: &str) -> String {
        let mut argv: Vec<String> = line.split('|').map(str::to_owned).collect();
        arguments(&mut argv);
        argv.join("|")
    }

    #[test]
    fn secrets_are_masked_and_nothing_else() {
        for (line, expected) in [
            (
                "mysql|--password=hunter2|-h|db",
                "mysql|--password=********|-h|db",
            ),
            ("x|--api-key|abc|y", "x|--api-key|********|y"),
            ("x|--token|--other", "x|--token|--other"),
            ("env|DB_PASSWORD=a=b|run", "env|DB_PASSWORD=********|run"),
            (
                "curl|https://bob:pw@h/p?q=1",
                "curl|https://bob:********@h/p?q=1",
            ),
            (
                "git|clone|https://ghp_abc@github.com/x",
                "git|clone|https://********@github.com/x",
            ),
            (
                "curl|-H|Authorization: Bearer abc",
                "curl|-H|Authorization: ********",
            ),
            ("cat|/etc/passwd", "cat|/etc/passwd"),
            ("sh|-c|echo a=b; ls", "sh|-c|echo a=b; ls"),
            ("curl|https://h:80/a@b", "curl|https://h:80/a@b"),
        ] {
            assert_eq!(scrubbed(line), expected);
        }
    }

    #[test]
    fn environment_values_stay_inside() {
        assert_eq!(
            environment(b"AWS_SECRET_ACCESS_KEY=abc"),
            b"AWS_SECRET_ACCESS_KEY"
        );
        assert_eq!(environment(b"LD_PRELOAD=/x.so"), b"LD_PRELOAD=/x.so");
        assert_eq!(environment(b"odd"), b"odd");
    }
}
