//! Hides secrets in argument vectors before they are written anywhere.
//!
//! The tracer scrubs what it sends; this is the second pass, over everything that goes out,
//! so that a tracer of an older image cannot leak either.

use std::borrow::Cow;

/// What stands where a secret stood.
pub const MASK: &str = "********";

/// Words in the name of an option or a variable that make its value a secret.
const SECRET_WORDS: &[&str] = &[
    "passwd",
    "password",
    "passphrase",
    "secret",
    "token",
    "credential",
    "apikey",
    "api_key",
    "api-key",
    "access_key",
    "access-key",
    "private_key",
    "private-key",
    "auth_key",
    "auth-key",
    "mysql_pwd",
    "pgpassword",
    "authorization",
];
/// Beginnings of tokens that are secrets wherever they stand.
const TOKEN_PREFIXES: &[&str] = &[
    "ghp_",
    "gho_",
    "ghu_",
    "ghs_",
    "ghr_",
    "github_pat_",
    "glpat-",
    "xoxb-",
    "xoxp-",
    "xoxa-",
    "xoxs-",
    "sk_live_",
    "rk_live_",
    "AKIA",
    "ASIA",
    "eyJhbGci",
    "dop_v1_",
    "npm_",
    "hf_",
];
/// Programs whose `-pVALUE` is a password.
const SHORT_PASSWORD_PROGRAMS: &[&str] = &[
    "mysql",
    "mysqldump",
    "mysqladmin",
    "mariadb",
    "mariadb-dump",
    "sshpass",
];
/// A word shorter than this is no token, whatever it begins with.
const MIN_TOKEN_LENGTH: usize = 16;

/// The arguments (program name first) with secrets masked.
///
/// Masked are the values of options and assignments whose name says that they are secret
/// (`--password x`, `--api-key=x`, `PGPASSWORD=x` also inside a shell's command text), what
/// follows `Authorization:` and `Bearer`, passwords in URLs, well-known forms of tokens, and
/// `-pVALUE` of database clients.
///
/// ```
/// let argv = ["curl", "-u", "--token", "abc", "https://me:pw@host/"].map(String::from);
/// let shown = picket_agent::scrub::arguments(&argv);
/// assert_eq!(shown, ["curl", "-u", "--token", "********", "https://me:********@host/"]);
/// ```
pub fn arguments(argv: &[String]) -> Vec<Cow<'_, str>> {
    let program = argv
        .first()
        .map_or("", |argv0| picket_events::file::base_name(argv0));
    let short_password = SHORT_PASSWORD_PROGRAMS.contains(&program);
    let mut hide_next = false;
    argv.iter()
        .map(|argument| {
            if hide_next && !argument.starts_with('-') {
                hide_next = false;
                return Cow::Borrowed(MASK);
            }
            hide_next = false;
            if short_password && argument.len() > 2 && argument.starts_with("-p") {
                return Cow::Owned(format!("-p{MASK}"));
            }
            text(argument, &mut hide_next)
        })
        .collect()
}

/// Scrubs the words of one argument; `hide_next` is set when its last word names a secret
/// that the next argument holds.
fn text<'a>(argument: &'a str, hide_next: &mut bool) -> Cow<'a, str> {
    let mut scrubbed = String::new();
    let mut changed = false;
    for word in argument.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end_matches(char::is_whitespace);
        let space = &word[bare.len()..];
        let shown = match *hide_next && !bare.is_empty() && !bare.starts_with('-') {
            true if is_scheme(bare) => None,
            true => {
                *hide_next = false;
                Some(Cow::Borrowed(MASK))
            }
            false => {
                *hide_next = announces_secret(bare);
                self::word(bare).map(Cow::Owned)
            }
        };
        changed |= shown.is_some();
        scrubbed.push_str(shown.as_deref().unwrap_or(bare));
        scrubbed.push_str(space);
    }
    if changed {
        Cow::Owned(scrubbed)
    } else {
        Cow::Borrowed(argument)
    }
}

/// The scheme of an `Authorization` header; the secret comes behind it.
fn is_scheme(word: &str) -> bool {
    ["bearer", "basic", "token", "digest"]
        .iter()
        .any(|scheme| word.eq_ignore_ascii_case(scheme))
}

/// True for `--password`, `Authorization:`, `Bearer`: the next word is the secret.
fn announces_secret(word: &str) -> bool {
    let quoted = word.trim_matches(['"', '\'']);
    if let Some(header) = quoted.strip_suffix(':') {
        return names_secret(header) || header.eq_ignore_ascii_case("authorization");
    }
    quoted.eq_ignore_ascii_case("bearer")
        || quoted.starts_with('-') && !quoted.contains(['=', ':']) && names_secret(quoted)
}

fn names_secret(name: &str) -> bool {
    // A path or a sentence that contains such a word is no name.
    let plain = name.len() <= 64
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    plain && {
        let lower = name.to_ascii_lowercase();
        SECRET_WORDS.iter().any(|secret| lower.contains(secret))
    }
}

/// The word with its secret masked; `None` when it holds none.
fn word(word: &str) -> Option<String> {
    if let Some(masked) = assignment(word) {
        return Some(masked);
    }
    url(word).or_else(|| token(word))
}

fn assignment(word: &str) -> Option<String> {
    let split = word.find(['=', ':'])?;
    let (name, value) = (&word[..split], &word[split + 1..]);
    let bare = name.trim_start_matches(['"', '\'', '{', ',', '?', '&']);
    if value.is_empty() || value.starts_with("//") || !names_secret(bare) {
        return None;
    }
    Some(format!("{}{MASK}", &word[..=split]))
}

/// Masks the password in `scheme://user:password@host`, and a user that is long enough to be
/// a token.
fn url(word: &str) -> Option<String> {
    let start = word.find("://")? + 3;
    let authority = &word[start..];
    let end = authority.find(['/', '?', '#']).unwrap_or(authority.len());
    let at = start + authority[..end].rfind('@')?;
    let user = &word[start..at];
    let keep = match user.find(':') {
        Some(colon) => start + colon + 1,
        None if user.len() >= MIN_TOKEN_LENGTH => start,
        None => return None,
    };
    Some(format!("{}{MASK}{}", &word[..keep], &word[at..]))
}

fn token(word: &str) -> Option<String> {
    let start = TOKEN_PREFIXES
        .iter()
        .filter_map(|prefix| word.find(prefix))
        .filter(|&start| !word[..start].ends_with(|c: char| c.is_ascii_alphanumeric()))
        .min()?;
    let rest = &word[start..];
    let end = rest
        .find(|c: char| !c.is_ascii_alphanumeric() && !"-_.".contains(c))
        .unwrap_or(rest.len());
    (end >= MIN_TOKEN_LENGTH).then(|| format!("{}{MASK}{}", &word[..start], &rest[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scrubbed(line: &[&str]) -> Vec<String> {
        let argv: Vec<String> = line.iter().map(|&text| text.to_owned()).collect();
        arguments(&argv).into_iter().map(Cow::into_owned).collect()
    }

    #[test]
    fn secrets_are_masked_and_the_rest_is_left_alone() {
        let cases: &[(&[&str], &[&str])] = &[
            (
                &["a", "--password", "hunter2", "x"],
                &["a", "--password", MASK, "x"],
            ),
            (
                &["a", "--password", "--verbose"],
                &["a", "--password", "--verbose"],
            ),
            (
                &["a", "--db-password=hunter2"],
                &["a", "--db-password=********"],
            ),
            (
                &["env", "PGPASSWORD=x", "psql"],
                &["env", "PGPASSWORD=********", "psql"],
            ),
            (
                &["sh", "-c", "MYSQL_PWD=x mysql -e 'select 1'"],
                &["sh", "-c", "MYSQL_PWD=******** mysql -e 'select 1'"],
            ),
            (
                &["curl", "-H", "Authorization: Bearer abc", "http://x/"],
                &["curl", "-H", "Authorization: Bearer ********", "http://x/"],
            ),
            (
                &["curl", "-H", "X-Api-Key: abc"],
                &["curl", "-H", "X-Api-Key: ********"],
            ),
            (
                &["git", "clone", "https://me:pw@host/a@b"],
                &["git", "clone", "https://me:********@host/a@b"],
            ),
            (
                &["git", "clone", "ssh://git@host/repo"],
                &["git", "clone", "ssh://git@host/repo"],
            ),
            (
                &["git", "clone", "https://0123456789abcdef0@host/"],
                &["git", "clone", "https://********@host/"],
            ),
            (&["x", "ghp_0123456789abcdefghij"], &["x", MASK]),
            (
                &["mysql", "-uroot", "-phunter2"],
                &["mysql", "-uroot", "-p********"],
            ),
            (&["cp", "-pr", "a", "b"], &["cp", "-pr", "a", "b"]),
            (
                &["cat", "/etc/secrets/token"],
                &["cat", "/etc/secrets/token"],
            ),
            (&["cat", "tokens.txt", "b"], &["cat", "tokens.txt", "b"]),
            (
                &["x", "xghp_0123456789abcdefghij"],
                &["x", "xghp_0123456789abcdefghij"],
            ),
        ];
        for (argv, expected) in cases {
            assert_eq!(scrubbed(argv), *expected, "{argv:?}");
        }
    }

    #[test]
    fn scrubbing_twice_changes_nothing_more() {
        let once = scrubbed(&["a", "--token", "x", "https://a:b@c/", "K_PASSWORD=v"]);
        let words: Vec<&str> = once.iter().map(String::as_str).collect();
        assert_eq!(scrubbed(&words), once);
    }
}
