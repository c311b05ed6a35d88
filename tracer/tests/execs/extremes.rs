//! Execs at the edges of what the kernel takes.

use super::*;

/// Runs a C program that executes things in children, and gives what was said and what it wrote.
fn executes(name: &str, source: &str) -> (Record, String, Scratch) {
    let scratch = Scratch::new(&format!("{name}-{}", engine()));
    const HEAD: &str = r##"
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
/* Executes in a child; gives its errno, or 0. */
static int run(const char *path, char **argv) {
    pid_t pid = fork();
    if (pid == 0) { execve(path, argv, environ); _exit(errno); }
    int status; waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}
"##;
    let program = build(&scratch, name, &[], &[HEAD, source].concat());
    let (record, out) = super::run(&scratch, &program);
    (record, out, scratch)
}

/// As much as the kernel takes: 100,000 arguments, a single one of 128 KiB, an environment of a
/// megabyte; again and again. What is told is what came first, said to be cut.
#[test]
fn as_much_as_the_kernel_takes_is_told_by_its_beginning() {
    let (record, _, _) = executes(
        "most",
        r##"
int main(void) {
    char **many = calloc(100002, sizeof *many);
    many[0] = "many";
    for (int i = 1; i <= 100000; i++) many[i] = "a";
    char *long_one = malloc(131072);
    memset(long_one, 'b', 131071); long_one[131071] = 0;
    char *one[] = {"long", long_one, 0};
    for (int i = 0; i < 20; i++)
        if (run("/bin/true", many) || run("/bin/true", one)) return 1;
    for (int i = 0; i < 8; i++) {
        char name[8]; sprintf(name, "BIG%d", i);
        memset(long_one, 'c', 131000); long_one[131000] = 0;
        setenv(name, long_one, 1);
    }
    char *small[] = {"small", 0};
    for (int i = 0; i < 20; i++) if (run("/bin/true", small)) return 2;
    return 0;
}"##,
    );
    for (first, argv_is_cut) in [("many", true), ("long", true), ("small", false)] {
        let images = record.images().into_iter();
        let told = images.filter(|(_, image)| image.argv[0] == first);
        let told: Vec<_> = told.collect();
        assert_eq!(told.len(), 20, "{first}");
        for (event, image) in told {
            assert_eq!(event.outcome, DONE, "{first}");
            assert_eq!(image.comm, "true", "{first}");
            assert_eq!(image.argv_truncated, argv_is_cut, "{first}");
            let bytes: usize = image.argv.iter().map(String::len).sum();
            assert!(
                bytes <= 40_000 && image.argv.len() <= 256,
                "{first}: {bytes}"
            );
        }
    }
    let (_, big) = record.images().pop().unwrap();
    assert!(big.envs_truncated || big.envs.iter().any(|entry| entry == "BIG7"));
}

/// Names are bytes: newlines, terminal sequences, what is no UTF-8, the longest there can be.
#[test]
fn any_name_is_told_so_that_it_can_be_told_from_others() {
    let (record, _, scratch) = executes(
        "names",
        r##"
static const char *bytes[] = {"\n\n\n", "\033[2J", "\xff\xfe", "\xed\xa0\x80", " ", "\\n", "-", "a\nPid:\t1"};
int main(void) {
    char path[4096], longest[256], *argv[] = {path, "\xff\n", 0};
    memset(longest, 'n', 255); longest[255] = 0;
    for (int i = 0; i < 9; i++) {
        sprintf(path, "./%s", i < 8 ? bytes[i] : longest);
        symlink("/bin/true", path);
        if (run(path, argv)) return 1;
        if (run(path, argv)) return 2;
        unlink(path); link("/proc/self/exe", "x"); // fails across file systems: nobody minds
        FILE *script = fopen(path, "w"); fputs("#!/bin/true\n", script); fclose(script);
        chmod(path, 0700);
        if (run(path, argv)) return 3;
        if (run(path, argv)) return 4;
    }
    return 0;
}"##,
    );
    let told: Vec<_> = record
        .images()
        .into_iter()
        .filter(|(_, image)| {
            image
                .argv
                .last()
                .is_some_and(|last| last != "-x" && image.argv.len() >= 2)
        })
        .filter(|(_, image)| image.argv[0].starts_with("./") || image.interpreter.is_some())
        .collect();
    assert_eq!(told.len(), 36, "{told:#?}");
    let mut names = std::collections::HashSet::new();
    let here = scratch.text("");
    for (event, image) in told {
        assert_eq!(event.outcome, DONE);
        if image.interpreter.is_some() {
            let name = image.file.path.strip_prefix(&here).expect(&image.file.path);
            names.insert(name.to_owned());
        }
    }
    assert_eq!(names.len(), 9, "{names:?}");
}

/// An interpreter's interpreter, as deep as the kernel goes, and one deeper, which it refuses; the
/// longest first line.
#[test]
fn interpreters_of_interpreters_are_told_as_far_as_the_kernel_goes() {
    let (record, out, scratch) = executes(
        "deep",
        r##"
static void script(const char *path, const char *interpreter) {
    FILE *file = fopen(path, "w"); fprintf(file, "#!%s\n", interpreter); fclose(file);
    chmod(path, 0700);
}
int main(void) {
    char here[1024], name[1200], next[1200] = "/bin/true", line[512];
    if (!getcwd(here, sizeof here)) return 1;
    for (int i = 1; i <= 7; i++) {
        sprintf(name, "%s/depth-%d", here, i);
        script(name, next);
        strcpy(next, name);
    }
    for (int i = 1; i <= 7; i++) {
        char *argv[] = {"x", "deep", 0};
        sprintf(name, "%s/depth-%d", here, i);
        int first = run(name, argv), again = run(name, argv);
        if (first != again) return 2;
        printf("depth-%d %d\n", i, first);
    }
    // 255 bytes are looked at, without the newline: an argument fills them.
    memset(line, 0, sizeof line);
    strcpy(line, "/bin/true ");
    memset(line + 10, 'o', 400);
    script("longest", line);
    char *argv[] = {"./longest", "longest", 0};
    return run("./longest", argv) || run("./longest", argv);
}"##,
    );
    let mut refused = 0;
    for line in out.lines() {
        let (name, errno) = line.split_once(' ').unwrap();
        let told = with_last(&record, "deep").into_iter();
        let told: Vec<_> = told
            .filter(|(_, image)| image.file.path == scratch.text(name))
            .collect();
        refused += usize::from(errno != "0");
        assert_eq!(told.len(), if errno == "0" { 2 } else { 0 }, "{line}");
        for (event, image) in told {
            assert_eq!(image.interpreter.as_ref().unwrap().name, "true");
            assert_eq!(event.outcome, DONE);
        }
    }
    assert!((1..5).contains(&refused), "{out}");
    let longest = with_last(&record, "longest");
    assert_eq!(longest.len(), 2);
    assert!(
        longest
            .iter()
            .all(|(_, image)| image.file.path == scratch.text("longest"))
    );
}

/// By a descriptor that can do nothing else, by its link, from a directory descriptor; and a file that is
/// still written to, which the kernel refuses.
#[test]
fn programs_by_descriptor_are_told_by_their_file() {
    let (record, _, scratch) = executes(
        "by-descriptor",
        r##"
static int at(int folder, const char *path, int flags, const char *word) {
    pid_t pid = fork();
    char *argv[] = {"x", (char *)word, 0};
    if (pid == 0) { syscall(SYS_execveat, folder, path, argv, environ, flags); _exit(errno); }
    int status; waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}
int main(void) {
    char link[64], *argv[] = {"x", "link", 0};
    if (system("cp /bin/true copy")) return 1;
    int file = open("copy", O_PATH), folder = open(".", O_PATH);
    sprintf(link, "/proc/self/fd/%d", file);
    for (int i = 0; i < 2; i++)
        if (run(link, argv) || at(file, "", AT_EMPTY_PATH, "empty") || at(folder, "copy", 0, "folder")) return 2;
    char *busy[] = {"x", "busy", 0};
    int written = open("copy", O_WRONLY);
    if (run("./copy", busy) != ETXTBSY || run("./copy", busy) != ETXTBSY) return 3;
    close(written);
    return 0;
}"##,
    );
    for word in ["link", "empty", "folder"] {
        let told = with_last(&record, word);
        assert_eq!(told.len(), 2, "{word}");
        for (event, image) in told {
            assert_eq!(image.file.path, scratch.text("copy"), "{word}");
            assert_eq!(event.outcome, DONE, "{word}");
        }
    }
    assert!(with_last(&record, "busy").is_empty());
}

/// A thread that is not the first executes while others run, end and are made; and a child of vfork does
/// while another thread of its parent writes over what it is given.
#[test]
fn what_threads_do_meanwhile_changes_nothing_that_is_told() {
    let (record, out, _) = executes(
        "meanwhile",
        r##"
static char word[] = "aaaa";
static void *spin(void *unused) { for (;;) { memset(word, 'a', 4); memset(word, 'b', 4); } return 0; }
static void *end(void *unused) { return 0; }
static void *make(void *unused) {
    for (;;) { pthread_t thread; if (pthread_create(&thread, 0, end, 0) == 0) pthread_join(thread, 0); }
    return 0;
}
static void *execute(void *unused) {
    char *argv[] = {"/bin/echo", "by-thread", 0};
    execve(argv[0], argv, environ);
    _exit(1);
}
int main(void) {
    setvbuf(stdout, 0, _IONBF, 0);
    for (int i = 0; i < 20; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            pthread_t thread;
            for (int j = 0; j < 3; j++) pthread_create(&thread, 0, j ? spin : make, 0);
            pthread_create(&thread, 0, execute, 0);
            for (;;) pause();
        }
        int status; waitpid(pid, &status, 0); if (status) return 1;
    }
    pthread_t thread;
    pthread_create(&thread, 0, spin, 0);
    for (int i = 0; i < 40; i++) {
        pid_t pid = vfork();
        if (pid == 0) { char *argv[] = {"/bin/echo", word, 0}; execve(argv[0], argv, environ); _exit(1); }
        waitpid(pid, 0, 0);
    }
    _exit(0);
}"##,
    );
    let told: Vec<_> = record
        .images()
        .into_iter()
        .filter(|(_, image)| image.comm == "echo")
        .collect();
    let lines: Vec<_> = out.lines().collect();
    assert_eq!((told.len(), lines.len()), (60, 60));
    for ((event, image), line) in told.iter().zip(lines) {
        let is_true = image.argv[1] == line;
        assert!(
            is_true || event.outcome == Outcome::Unconfirmed,
            "{line}: {event:?}"
        );
    }
}

/// A library that the loader asks about everything acts before the program does, in the program's name.
#[test]
fn what_the_loader_is_given_to_ask_is_told_and_acts_as_the_program() {
    let scratch = Scratch::new(&format!("audit-{}", engine()));
    let library = build(
        &scratch,
        "audit.so",
        &["-shared", "-fPIC"],
        r##"
#include <fcntl.h>
#include <stdlib.h>
unsigned la_version(unsigned version) { open(getenv("MADE"), O_CREAT | O_WRONLY, 0600); return version; }
"##,
    );
    let agent = Agent::start(&scratch);
    let made = scratch.text("made");
    let script = format!("export MADE={made}; LD_AUDIT={library} /bin/true; :");
    let ran = output(&mut traced(&agent, "exec,open:write", &sh(&script)));
    assert!(ran.status.success(), "{}", stderr(&ran));
    let record = agent.finish();
    let (exec, image) = record.exec("/bin/true");
    assert!(
        image.envs.contains(&format!("LD_AUDIT={library}")),
        "{:?}",
        image.envs
    );
    assert_eq!(record.about(EventType::Open, &made).pid, exec.pid);
}

/// Arguments and environments are said to be cut from the first thing on that is left out: one argument
/// over 256, one byte over 32 KiB, one variable over 512; and not before.
#[test]
fn what_is_cut_is_said_to_be_and_nothing_else() {
    let (record, _, _) = executes(
        "limits",
        r##"
static char word[40000];
static void arguments(const char *name, int count, int bytes) {
    char **argv = calloc(count + 1, sizeof *argv);
    argv[0] = (char *)name;
    for (int i = 1; i < count; i++) argv[i] = "a";
    if (bytes) {
        memset(word, 'x', sizeof word);
        word[bytes - strlen(name) - 2] = 0; /* both with the zeros that end them */
        argv[1] = word;
    }
    run("/bin/true", argv);
}
static void variables(const char *name, int count) {
    static char texts[600][16];
    static char *all[601];
    for (int i = 0; i < count; i++) { sprintf(texts[i], "V%d=x", i); all[i] = texts[i]; }
    all[count] = 0;
    char **before = environ, *argv[] = {(char *)name, 0};
    environ = all;
    run("/bin/true", argv);
    environ = before;
}
int main(void) {
    for (int twice = 0; twice < 2; twice++) {
        arguments("256-arguments", 256, 0);
        arguments("257-arguments", 257, 0);
        arguments("32768-bytes", 2, 32768);
        arguments("32769-bytes", 2, 32769);
        variables("512-variables", 512);
        variables("513-variables", 513);
    }
    return 0;
}"##,
    );
    let images = record.images();
    let of = |name: &str| {
        let them = images.iter().map(|(_, image)| *image);
        let them: Vec<_> = them
            .filter(|image| image.argv.first().is_some_and(|first| first == name))
            .collect();
        assert_eq!(them.len(), 2, "{name}");
        them
    };
    for (name, argv_is_cut, envs_are_cut) in [
        ("256-arguments", false, false),
        ("257-arguments", true, false),
        ("32768-bytes", false, false),
        ("32769-bytes", true, false),
        ("512-variables", false, false),
        ("513-variables", false, true),
    ] {
        for image in of(name) {
            assert_eq!(image.argv_truncated, argv_is_cut, "{name}");
            assert_eq!(image.envs_truncated, envs_are_cut, "{name}");
        }
    }
    assert!(
        of("257-arguments")
            .iter()
            .all(|image| image.argv.len() == 256)
    );
    assert!(
        of("32768-bytes")
            .iter()
            .all(|image| image.argv[1].len() == 32768 - 13)
    );
    assert!(
        of("513-variables")
            .iter()
            .all(|image| image.envs.len() == 512)
    );
}
