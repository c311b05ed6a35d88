//! List files: addresses, domains, hashes and names that rules compare with and that change
//! more often than rules do.
//!
//! A list file has one entry a line. `#` begins a comment, empty lines mean nothing. The
//! ending of its name says what is in it: `.ips`, `.domains`, `.hashes`, `.names`. A policy's
//! macro takes it in by name (`list: mining-pools.domains`); several files of one name add up.
//! A line that is wrong is left out and reported; the others count.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;
use picket_events::text::counted;
use serde::Serialize;

use crate::matcher::{AddressSet, TextTable};
use crate::position::Position;
use crate::report::{LoadError, Status};

/// Largest list file, in bytes.
pub const MAX_LIST: usize = 16 * 1024 * 1024;

/// Most entries that all files of one name may have together.
pub const MAX_ENTRIES: usize = 500_000;

/// Most faulty lines that are reported one by one.
const MAX_ERRORS: usize = 20;

/// Longest name of a file.
const MAX_NAME: usize = 255;

/// A list file as it was handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListSource {
    /// File name without its directory: what policies call it.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Where it comes from, for people: a path, `built-in`.
    pub origin: String,
}

/// What a list holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ListKind {
    /// Addresses and networks.
    Ips,
    /// Domains; each stands for itself and every name below it.
    Domains,
    /// SHA-256 and SHA-1 sums of files, compared with `‹file›.hashes`.
    Hashes,
    /// Names of programs or files.
    Names,
}

impl ListKind {
    /// The kind that a list's name says by its ending.
    pub fn of(name: &str) -> Option<Self> {
        Some(match name.rsplit_once('.')? {
            ("", _) => return None,
            (_, "ips") => Self::Ips,
            (_, "domains") => Self::Domains,
            (_, "hashes") => Self::Hashes,
            (_, "names") => Self::Names,
            _ => return None,
        })
    }

    /// Its word, which is also the ending of its files.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ips => "ips",
            Self::Domains => "domains",
            Self::Hashes => "hashes",
            Self::Names => "names",
        }
    }
}

/// What became of one list file.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct ListReport {
    /// Its name.
    pub name: String,
    /// Where it comes from.
    pub origin: String,
    /// What became of it.
    pub status: Status,
    /// How many of its lines are in use.
    pub entries: usize,
    /// Lines that were left out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<LoadError>,
}

/// A list that policies take in, whether or not a file of its name was given.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListUse {
    /// Its name.
    pub name: String,
    /// What it holds.
    pub kind: ListKind,
    /// How many entries its files have.
    pub entries: usize,
    /// How many values the macros that take it in have of their own.
    pub values: usize,
    /// Macros that take it in.
    pub macros: Vec<String>,
}

impl ListUse {
    pub(crate) fn new(name: &str, kind: ListKind, entries: usize) -> Self {
        Self {
            name: name.to_owned(),
            kind,
            entries,
            values: 0,
            macros: Vec::new(),
        }
    }
}

/// A list that policies can take in.
#[derive(Debug, Clone)]
pub(crate) struct List {
    pub(crate) entries: usize,
    pub(crate) content: Content,
}

/// What a list is compared by.
#[derive(Debug, Clone)]
pub(crate) enum Content {
    Addresses(Arc<AddressSet>),
    Texts(Arc<TextTable>),
}

impl Content {
    pub(crate) fn is_empty(&self) -> bool {
        match self {
            Content::Addresses(set) => set.is_empty(),
            Content::Texts(table) => table.len() == 0,
        }
    }
}

/// All lists by name.
#[derive(Debug, Clone, Default)]
pub(crate) struct Lists(BTreeMap<String, List>);

impl Lists {
    /// The list of this name. One that nobody brought is empty.
    pub(crate) fn get(&self, name: &str, kind: ListKind) -> List {
        match self.0.get(name) {
            Some(list) => list.clone(),
            None => Entries::new(kind).finish(),
        }
    }
}

/// Reads list files. Never fails as a whole: what is wrong is in the reports, one for each
/// file in the order given.
pub(crate) fn read(sources: &[ListSource]) -> (Lists, Vec<ListReport>) {
    let mut lists: BTreeMap<String, Entries> = BTreeMap::new();
    let mut reports = Vec::with_capacity(sources.len());
    for source in sources {
        let mut report = ListReport {
            name: source.name.clone(),
            origin: source.origin.clone(),
            ..ListReport::default()
        };
        match ListKind::of(&source.name) {
            None => report.errors.push(fault(
                None,
                "the name of a list ends in .ips, .domains, .hashes or .names".to_owned(),
            )),
            Some(_) if source.text.len() > MAX_LIST => report.errors.push(fault(
                None,
                format!("the list is larger than {} MiB", MAX_LIST >> 20),
            )),
            Some(kind) => lists
                .entry(source.name.clone())
                .or_insert_with(|| Entries::new(kind))
                .read(&source.text, &mut report),
        }
        report.status = match (report.errors.is_empty(), report.entries) {
            (true, _) => Status::Loaded,
            (false, 0) => Status::Error,
            (false, _) => Status::PartiallyLoaded,
        };
        reports.push(report);
    }
    let lists = lists
        .into_iter()
        .map(|(name, entries)| (name, entries.finish()))
        .collect();
    (Lists(lists), reports)
}

fn fault(at: Option<Position>, message: String) -> LoadError {
    LoadError {
        message,
        file: at,
        ..LoadError::default()
    }
}

/// The entries of one list while its files are read.
struct Entries {
    kind: ListKind,
    count: usize,
    addresses: AddressSet,
    texts: Vec<String>,
}

impl Entries {
    fn new(kind: ListKind) -> Self {
        Self {
            kind,
            count: 0,
            addresses: AddressSet::default(),
            texts: Vec::new(),
        }
    }

    fn read(&mut self, text: &str, report: &mut ListReport) {
        let mut faulty = 0;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        for (index, line) in text.lines().enumerate() {
            let entry = without_comment(line).trim();
            if entry.is_empty() {
                continue;
            }
            let column = 1 + line.chars().take_while(|c| c.is_whitespace()).count();
            let at = Position {
                line: index + 1,
                column,
            };
            if self.count >= MAX_ENTRIES {
                let message = format!("more than {MAX_ENTRIES} entries; the rest is left out");
                report.errors.push(fault(Some(at), message));
                break;
            }
            match self.add(entry) {
                Ok(()) => {
                    self.count += 1;
                    report.entries += 1;
                }
                Err(message) => {
                    faulty += 1;
                    if faulty <= MAX_ERRORS {
                        report.errors.push(fault(Some(at), message));
                    }
                }
            }
        }
        if faulty > MAX_ERRORS {
            let more = faulty - MAX_ERRORS;
            let message = counted(more, "more line is wrong", "more lines are wrong");
            report.errors.push(fault(None, message));
        }
    }

    fn add(&mut self, entry: &str) -> Result<(), String> {
        match self.kind {
            ListKind::Ips => self.addresses.insert(network(entry)?),
            ListKind::Domains => self.texts.push(domain(entry)?),
            ListKind::Hashes => self.texts.push(hash(entry)?),
            ListKind::Names => self.texts.push(name(entry)?),
        }
        Ok(())
    }

    fn finish(mut self) -> List {
        let content = match self.kind {
            ListKind::Ips => {
                self.addresses.seal();
                Content::Addresses(Arc::new(self.addresses))
            }
            ListKind::Domains => Content::Texts(Arc::new(TextTable::domains(self.texts))),
            ListKind::Hashes | ListKind::Names => {
                Content::Texts(Arc::new(TextTable::exact(self.texts)))
            }
        };
        List {
            entries: self.count,
            content,
        }
    }
}

/// A `#` at the start or behind space begins a comment.
fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    for (at, character) in line.char_indices() {
        if character == '#' && before.is_whitespace() {
            return &line[..at];
        }
        before = character;
    }
    line
}

/// As much of an entry as fits into a message.
fn shown(entry: &str) -> String {
    let mut shown: String = entry.chars().take(60).collect();
    if shown.len() < entry.len() {
        shown.push('…');
    }
    format!("{shown:?}")
}

fn network(entry: &str) -> Result<IpNet, String> {
    let network = entry
        .parse::<IpNet>()
        .or_else(|_| entry.parse::<IpAddr>().map(IpNet::from))
        .map_err(|_| format!("{} is not an IP address or network", shown(entry)))?;
    if network.prefix_len() == 0 {
        return Err(format!("{entry} would match every address"));
    }
    Ok(network)
}

fn domain(entry: &str) -> Result<String, String> {
    let name = entry.strip_prefix("*.").unwrap_or(entry);
    let name = name.strip_suffix('.').unwrap_or(name);
    if !name.is_ascii() {
        return Err(format!(
            "{}: write the domain in its ASCII form, xn--…",
            shown(entry)
        ));
    }
    let valid = name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
        });
    if !valid {
        return Err(format!("{} is not a domain", shown(entry)));
    }
    if !name.contains('.') {
        return Err(format!("{} would match a whole registry", shown(entry)));
    }
    if name.parse::<IpAddr>().is_ok() {
        return Err(format!("{} is an address, not a domain", shown(entry)));
    }
    Ok(name.to_ascii_lowercase())
}

fn hash(entry: &str) -> Result<String, String> {
    let lower = entry.to_ascii_lowercase();
    let (named, digits) = match lower.split_once(':') {
        Some((algorithm, digits)) => (Some(algorithm), digits),
        None => (None, lower.as_str()),
    };
    if !digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(format!("{} is not a hash in hexadecimal", shown(entry)));
    }
    let algorithm = match digits.len() {
        64 => "sha256",
        40 => "sha1",
        32 => return Err("MD5 sums are not computed; use SHA-256 or SHA-1".to_owned()),
        _ => return Err(format!("{} is no SHA-256 or SHA-1 sum", shown(entry))),
    };
    match named {
        Some(named) if named != algorithm => Err(format!(
            "{}: this has the length of {algorithm}",
            shown(entry)
        )),
        _ => Ok(format!("{algorithm}:{digits}")),
    }
}

fn name(entry: &str) -> Result<String, String> {
    if entry.len() > MAX_NAME {
        return Err(format!("{} is longer than {MAX_NAME} bytes", shown(entry)));
    }
    if entry.contains('/') {
        return Err(format!(
            "{} is a path; only its last part counts",
            shown(entry)
        ));
    }
    if entry.contains('*') {
        return Err(format!(
            "{}: patterns are for policies, a list holds names",
            shown(entry)
        ));
    }
    Ok(entry.to_owned())
}
