//! Every family of calls that name files, by every way in which a path can lead to one.

use super::*;

/// What a call's path is to lead to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    /// A file; a symbolic link at the end is followed.
    File,
    /// A name; a symbolic link at the end is meant itself.
    Name,
    /// Nothing yet.
    Nothing,
    Directory,
}

/// A call: name, arguments with `@` for the directory's descriptor and `PATH` for the path, what is
/// told with `PATH` for that.
type Family = (To, &'static str, &'static str, &'static str);

const FAMILIES: &[Family] = {
    use To::{Directory, File, Name, Nothing};
    &[
        (File, "open", "PATH, 2", "+open PATH 0o2 0o0"),
        (File, "openat", "@, PATH, 2", "+open PATH 0o2 0o0"),
        (
            File,
            "openat2",
            "@, PATH, pack('<3Q', 1, 0, 0), 24",
            "+open PATH 0o1 0o0",
        ),
        (File, "creat", "PATH, 0o600", "+open PATH 0o1101 0o600"),
        (File, "truncate", "PATH, 1", "?open PATH 0o1001 0o0"),
        (File, "chmod", "PATH, 0o604", "+chmod PATH 0o604"),
        (File, "fchmodat", "@, PATH, 0o604", "+chmod PATH 0o604"),
        (File, "chown", "PATH, 31, 41", "+chown PATH 31 41"),
        (File, "fchownat", "@, PATH, 31, 41, 0", "+chown PATH 31 41"),
        (File, "utime", "PATH, 0", "?utimes PATH"),
        (File, "utimes", "PATH, 0", "?utimes PATH"),
        (File, "futimesat", "@, PATH, 0", "?utimes PATH"),
        (File, "utimensat", "@, PATH, 0, 0", "?utimes PATH"),
        (
            File,
            "setxattr",
            "PATH, 'user.a', at(b'x'), 1, 0",
            "~setxattr PATH user.a",
        ),
        (
            File,
            "removexattr",
            "PATH, 'user.a'",
            "~removexattr PATH user.a",
        ),
        (
            File,
            "linkat",
            "@, PATH, -100, 'new', 0x400",
            "+link PATH new hard",
        ),
        (File, "execve", "PATH, ['it', 0], [0]", "+exec PATH it"),
        (
            File,
            "execveat",
            "@, PATH, ['it', 0], [0], 0",
            "+exec PATH it",
        ),
        (Name, "unlink", "PATH", "+unlink PATH"),
        (Name, "unlinkat", "@, PATH, 0", "+unlink PATH"),
        (Name, "rename", "PATH, 'new'", "+rename PATH new"),
        (Name, "renameat", "@, PATH, -100, 'new'", "+rename PATH new"),
        (
            Name,
            "renameat2",
            "@, PATH, -100, 'new', 0",
            "+rename PATH new",
        ),
        (Name, "link", "PATH, 'new'", "+link PATH new hard"),
        (Name, "lchown", "PATH, 31, 41", "+chown PATH 31 41"),
        (
            Name,
            "fchownat",
            "@, PATH, 31, 41, 0x100",
            "+chown PATH 31 41",
        ),
        (Name, "utimensat", "@, PATH, 0, 0x100", "?utimes PATH"),
        (
            Name,
            "lsetxattr",
            "PATH, 'trusted.a', at(b'x'), 1, 0",
            "~setxattr PATH trusted.a",
        ),
        (
            Nothing,
            "open",
            "PATH, 0o301, 0o600",
            "+open PATH 0o301 0o600",
        ),
        (
            Nothing,
            "openat",
            "@, PATH, 0o101, 0o600",
            "+open PATH 0o101 0o600",
        ),
        (Nothing, "mkdir", "PATH, 0o711", "+mkdir PATH 0o711"),
        (Nothing, "mkdirat", "@, PATH, 0o711", "+mkdir PATH 0o711"),
        (Nothing, "symlink", "'text', PATH", "+link text PATH soft"),
        (
            Nothing,
            "symlinkat",
            "'text', @, PATH",
            "+link text PATH soft",
        ),
        (Nothing, "link", "'other', PATH", "+link other PATH hard"),
        (
            Nothing,
            "linkat",
            "-100, 'other', @, PATH, 0",
            "+link other PATH hard",
        ),
        (Nothing, "rename", "'other', PATH", "+rename other PATH"),
        (
            Nothing,
            "renameat2",
            "-100, 'other', @, PATH, 0",
            "+rename other PATH",
        ),
        (Directory, "chdir", "PATH", "?chdir PATH"),
        (Directory, "rmdir", "PATH", "+rmdir PATH"),
        (Directory, "unlinkat", "@, PATH, 0x200", "+rmdir PATH"),
        (Directory, "chroot", "PATH", "+chroot PATH"),
        (
            Directory,
            "mount",
            "'none', PATH, 'tmpfs', 0, 0",
            "+mount \"none\" \"PATH\" \"tmpfs\"",
        ),
        (
            Directory,
            "open_tree",
            "@, PATH, 1",
            "+mount \"PATH\" \"\" \"bind\"",
        ),
    ]
};

/// A way to write a path: Python to be run in the scene's folder before, the path as Python with
/// `LEAF` for its last name as it is written there, and where it leads.
struct Form {
    name: &'static str,
    before: &'static str,
    path: &'static str,
    leads_to: &'static str,
    /// The descriptor it is relative to, where that is not the working directory.
    directory: Option<&'static str>,
}

const fn form(
    name: &'static str,
    before: &'static str,
    path: &'static str,
    leads_to: &'static str,
) -> Form {
    Form {
        name,
        before,
        path,
        leads_to,
        directory: None,
    }
}

const FORMS: &[Form] = &[
    form(
        "by-links",
        "os.symlink(root + '/two', 'one'); os.symlink('d/../d', 'two')",
        "'one/../d//./' + leaf",
        "d/LEAF",
    ),
    form(
        "root",
        "",
        "'/proc/self/root' + root + '/d/' + leaf",
        "d/LEAF",
    ),
    form("cwd", "", "'/proc/thread-self/cwd/d/' + leaf", "d/LEAF"),
    form(
        "descriptor",
        "fd = os.open('d', 0)",
        "'/proc/self/fd/%d/' % fd + leaf",
        "d/LEAF",
    ),
    form(
        "dev-descriptor",
        "fd = os.open('d', 0)",
        "'/dev/fd/%d/../d/' % fd + leaf",
        "d/LEAF",
    ),
    form(
        "bound",
        "os.mkdir('b'); assert raw(165, 'd', 'b', 0, 0x1000, 0) == 0",
        "'b/' + leaf",
        "b/LEAF",
    ),
    form("own-root", "os.chroot('.')", "'/../d/' + leaf", "d/LEAF"),
    form(
        "outside-of-root",
        "os.makedirs('jail', exist_ok=True); os.chroot('jail')",
        "'jail/../d/' + leaf",
        "jail/d/LEAF",
    ),
    form(
        "beside-root",
        "os.makedirs('jail', exist_ok=True); os.chroot('jail')",
        "'./d/' + leaf",
        "d/LEAF",
    ),
    form("odd", "", "'d/' + leaf", "d/LEAF"),
    Form {
        directory: Some("fd"),
        ..form(
            "moved",
            "fd = os.open('d', 0); os.rename('d', 'm')",
            "leaf",
            "m/LEAF",
        )
    },
    form("long", "", "root + deep + '/' + leaf", "DEEP/LEAF"),
    Form {
        directory: Some("fd"),
        ..form("relative", "fd = os.open('d', 0)", "leaf", "d/LEAF")
    },
];

/// Names of the folders below which a path is as long as one may be, that of its last name apart.
fn deep(root: &str) -> String {
    let mut deep = String::new();
    while 4095 - root.len() - deep.len() - 1 > 251 {
        deep += &format!("/{}", "d".repeat(250));
    }
    deep
}

/// The scene of a call by a form, in a folder of its own.
fn scene(here: &str, form: &Form, family: &Family, number: usize) -> Option<Vec<Step>> {
    let (to, call, arguments, told) = *family;
    if form.directory.is_some() && !arguments.contains('@') {
        return None;
    }
    // A link, or a rename, from one mount to the other is none.
    if form.name == "bound" && ["new", "other"].iter().any(|name| arguments.contains(name)) {
        return None;
    }
    let folder = format!("{}-{number}", form.name);
    let root = format!("{here}/{folder}");
    let deep = deep(&root);
    let (written, leaf) = match form.name {
        "odd" => (
            "'new\\n\\udcff\\udcfe'".to_owned(),
            "new\n\\xff\\xfe".to_owned(),
        ),
        "long" => {
            let leaf = "f".repeat(4095 - root.len() - deep.len() - 1);
            (format!("'{leaf}'"), leaf)
        }
        _ => ("'leaf'".to_owned(), "leaf".to_owned()),
    };
    let make = match to {
        To::File | To::Name => "copy(root + '/../../program', place)",
        To::Directory => "os.mkdir(place)",
        To::Nothing => "pass",
    };
    // What leads out of a root of its own and back leads into that.
    let (base, leads_to) = match form.name {
        "outside-of-root" => ("/jail/d", form.leads_to),
        "long" => ("DEEP", form.leads_to),
        _ => ("/d", form.leads_to),
    };
    let base = base.replace("DEEP", &deep);
    let before = format!(
        "root = {root:?}; deep = {deep:?}; leaf = {written}; os.mkdir(root); os.chdir(root)
os.makedirs(root + {base:?}, exist_ok=True); os.makedirs('d', exist_ok=True)
place = root + {base:?} + '/' + leaf
def copy(a, b):
    with open(a, 'rb') as a, open(b, 'wb') as b: b.write(a.read())
    os.chmod(place, 0o755)
{make}
open('other', 'w').close()
{}",
        form.before
    );
    let leads_to = leads_to
        .replace("DEEP", deep.trim_start_matches('/'))
        .replace("LEAF", &leaf);
    let below = |name: &str| format!("{folder}/{name}");
    let path = match told.contains("\"PATH\"") {
        // As it is shown there.
        true => format!("{:?}", below(&leads_to)),
        false => below(&leads_to),
    };
    let mut told = told.replace("\"PATH\"", "PATH").replace("PATH", &path);
    let words = told.split(' ').map(|word| match word {
        "new" | "other" => below(word),
        _ => word.to_owned(),
    });
    told = words.collect::<Vec<_>>().join(" ");
    let directory = form.directory.unwrap_or("-100");
    let arguments = arguments.replace('@', directory).replace("PATH", form.path);
    Some(vec![
        Step {
            call: "",
            arguments: before,
            told: String::new(),
        },
        Step {
            call,
            arguments,
            told,
        },
    ])
}

#[test]
fn every_family_of_calls_tells_the_file_whatever_way_leads_there() {
    need_root();
    let scratch = Scratch::new(&format!("paths-{}", engine()));
    let here = scratch.text("here");
    // It needs nothing that a root of its own may lack.
    let source = r#"void _start(void) { __asm__("syscall" :: "a"(231), "D"(0)); }"#;
    build(&scratch, "program", &["-static", "-nostdlib"], source);
    let mut list = Vec::new();
    for form in FORMS {
        let scenes = FAMILIES.iter().enumerate();
        list.extend(scenes.filter_map(|(number, family)| scene(&here, form, family, number)));
    }
    assert!(list.len() > 450, "{}", list.len());
    let wrong = wrong_of("syscall", &list, &scratch);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
