use picket_events::File;

use super::*;

fn image(path: &str) -> Image {
    Image {
        file: File::from_path(path),
        argv: vec![path.to_owned()],
        ..Image::default()
    }
}

fn process(pid: u32, parent: u32, started_at: u64, path: &str) -> Process {
    Process {
        pid,
        parent,
        started_at,
        image: Some(image(path)),
        ..Process::default()
    }
}

fn lineage(tree: &ProcessTree, pid: u32) -> Vec<String> {
    let key = tree.find(pid).expect("process is in the tree");
    tree.ancestors(key)
        .map(|(_, node)| format!("{}:{}", node.pid, node.program.image.file.name))
        .collect()
}

fn small(processes: usize) -> ProcessTree {
    ProcessTree::new(TreeLimits {
        processes,
        bytes: 1 << 20,
        recent_dead: 2,
    })
}

/// pid 1 runs nginx and has the child pid 2, which runs sh.
fn nginx_with_shell() -> ProcessTree {
    let mut tree = ProcessTree::default();
    let nginx = tree.insert(process(1, 0, 10, "/bin/init")).unwrap();
    tree.exec(nginx, image("/usr/sbin/nginx"), 11);
    let shell = tree.insert(process(2, 1, 20, "/usr/sbin/nginx")).unwrap();
    tree.exec(shell, image("/bin/sh"), 21);
    tree
}

#[test]
fn a_fork_shares_its_parents_program_until_it_executes_one() {
    let mut tree = nginx_with_shell();
    let child = tree.insert(process(3, 2, 30, "/bin/sh")).unwrap();
    let parent = tree.find(2).unwrap();
    assert!(Arc::ptr_eq(
        &tree.get(child).unwrap().program,
        &tree.get(parent).unwrap().program
    ));
    assert!(!tree.get(child).unwrap().is_exec());
    tree.exec(child, image("/usr/bin/id"), 31);
    assert_eq!(lineage(&tree, 3), ["2:sh", "1:nginx"]);
}

#[test]
fn a_process_that_is_told_without_a_program_runs_its_parents() {
    let mut tree = nginx_with_shell();
    let told_without = |pid, parent| Process {
        image: None,
        ..process(pid, parent, 30, "")
    };
    let child = tree.insert(told_without(3, 2)).unwrap();
    let path = |tree: &ProcessTree, key| tree.get(key).unwrap().program.image.file.path.clone();
    assert_eq!(path(&tree, child), "/bin/sh");
    // What the parent runs later is its own.
    let parent = tree.find(2).unwrap();
    tree.exec(parent, image("/usr/bin/id"), 31);
    assert_eq!(path(&tree, child), "/bin/sh");
    let stranger = tree.insert(told_without(5, 4)).unwrap();
    assert_eq!(path(&tree, stranger), "");
    // A fork that comes late, behind a snapshot, takes no program away.
    let key = tree.exec(child, image("/usr/bin/id"), 32);
    tree.insert(told_without(3, 2));
    assert_eq!(path(&tree, key), "/usr/bin/id");
}

#[test]
fn programs_share_an_environment_that_is_the_same() {
    let mut tree = ProcessTree::default();
    let long = Arc::new(vec!["X".repeat(10_000)]);
    let with = |path: &str| Image {
        envs: Arc::clone(&long),
        ..image(path)
    };
    let shell = tree.insert(process(1, 0, 1, "/bin/sh")).unwrap();
    for number in 0..100u64 {
        tree.exec(shell, with(&format!("/bin/{number}")), 2 + number);
    }
    assert!(tree.budget.used() < 200_000, "{}", tree.budget.used());
    let last = tree.get(tree.find(1).unwrap()).unwrap();
    assert_eq!(last.program.environment(), &long[..]);
}

#[test]
fn the_dead_stay_while_somebody_living_descends_from_them() {
    let mut tree = nginx_with_shell();
    tree.insert(process(3, 2, 30, "/bin/sh"));
    for pid in [2, 1] {
        let key = tree.find(pid).unwrap();
        tree.end(key, 40);
    }
    assert_eq!(lineage(&tree, 3), ["2:sh", "1:nginx"]);
    assert_eq!(tree.living().count(), 1);
}

#[test]
fn the_dead_leave_when_their_last_descendant_did() {
    let mut tree = small(100);
    tree.insert(process(1, 0, 1, "/init"));
    tree.insert(process(2, 1, 2, "/a"));
    tree.insert(process(3, 2, 3, "/b"));
    for pid in [2, 3] {
        let key = tree.find(pid).unwrap();
        tree.end(key, 9);
    }
    for pid in 10..20 {
        let key = tree.insert(process(pid, 1, u64::from(pid), "/c")).unwrap();
        tree.end(key, 20);
    }
    assert_eq!((tree.find(2), tree.find(3)), (None, None));
    assert!(tree.len() <= 4, "{} processes are held", tree.len());
}

#[test]
fn a_recycled_pid_is_another_process() {
    let mut tree = nginx_with_shell();
    tree.insert(process(3, 2, 30, "/bin/sh"));
    let shell = tree.find(2).unwrap();
    tree.end(shell, 40);
    tree.insert(process(2, 1, 50, "/usr/sbin/nginx"));
    assert_eq!(tree.get(shell).unwrap().program.image.file.name, "sh");
    assert_ne!(tree.find(2), Some(shell));
    assert_eq!(lineage(&tree, 3), ["2:sh", "1:nginx"]);
}

#[test]
fn a_parent_younger_than_its_child_is_not_its_parent() {
    let mut tree = ProcessTree::default();
    tree.insert(process(7, 0, 100, "/late"));
    tree.insert(process(8, 7, 50, "/early"));
    assert!(lineage(&tree, 8).is_empty());
}

#[test]
fn programs_executed_one_after_another_stay_in_the_lineage() {
    let mut tree = nginx_with_shell();
    let shell = tree.find(2).unwrap();
    let next = tree.exec(shell, image("/usr/bin/curl"), 30);
    assert_eq!(tree.find(2), Some(next));
    assert_eq!(lineage(&tree, 2), ["2:sh", "1:nginx"]);
    // Its own re-execution adds nothing.
    assert_eq!(tree.exec(next, image("/usr/bin/curl"), 31), next);
    assert_eq!(tree.living().count(), 2);
}

#[test]
fn a_full_tree_lets_the_dead_go_first() {
    let mut tree = small(5);
    tree.insert(process(1, 0, 1, "/init"));
    for pid in 2..50 {
        let key = tree
            .insert(process(pid, pid - 1, u64::from(pid), "/daemon"))
            .unwrap();
        let parent = tree.find(pid - 1).unwrap();
        if pid > 2 {
            tree.end(parent, u64::from(pid));
        }
        assert!(tree.get(key).is_some());
    }
    assert!(
        tree.find(1).is_some() && tree.find(49).is_some(),
        "the living stay"
    );
    assert_eq!(tree.len(), 5);
    assert!(tree.forgotten() > 0);
}

#[test]
fn a_tree_full_of_living_processes_takes_no_more_and_counts() {
    let mut tree = small(3);
    for pid in 1..=3 {
        assert!(tree.insert(process(pid, 0, 1, "/a")).is_some());
    }
    assert_eq!(tree.insert(process(4, 0, 1, "/a")), None);
    assert_eq!(tree.forgotten(), 1);
}

#[test]
fn under_pressure_arguments_are_cut_and_no_process_is_left_out() {
    let limits = TreeLimits {
        bytes: 200_000,
        ..TreeLimits::default()
    };
    let mut tree = ProcessTree::new(limits);
    for pid in 1..500 {
        let mut process = process(pid, 0, 1, "/a");
        let inherited = process.image.get_or_insert_default();
        inherited.argv = vec![pid.to_string().repeat(5_000)];
        let key = tree.insert(process).unwrap();
        let mut image = image("/b");
        image.argv = vec!["x".repeat(20_000); 2];
        tree.exec(key, image, 2);
    }
    assert_eq!(tree.living().count(), 499);
    assert!(
        tree.budget.used() < 1_500_000,
        "{} bytes",
        tree.budget.used()
    );
    let last = tree.get(tree.find(499).unwrap()).unwrap();
    assert!(last.program.image.argv_truncated && !last.program.argv0().is_empty());
}

#[test]
fn what_a_snapshot_leaves_out_ended_unseen() {
    let mut tree = nginx_with_shell();
    tree.begin_snapshot();
    let mut told = process(1, 0, 10, "/usr/sbin/nginx");
    told.executed_at = 11;
    tree.insert(told);
    tree.end_snapshot(100);
    let ended = |pid| tree.get(tree.find(pid).unwrap()).unwrap().ended_at;
    assert_eq!((ended(1), ended(2)), (None, Some(100)));
}

#[test]
fn a_fork_that_a_snapshot_overtook_changes_nothing() {
    let mut tree = nginx_with_shell();
    tree.insert(process(2, 1, 20, "/usr/sbin/nginx"));
    assert_eq!(
        tree.get(tree.find(2).unwrap())
            .unwrap()
            .program
            .image
            .file
            .name,
        "sh"
    );
}

#[test]
fn an_unknown_pid_gets_a_place_of_its_own() {
    let mut tree = ProcessTree::default();
    let key = tree.find_or_insert(77).unwrap();
    assert_eq!(tree.find_or_insert(77), Some(key));
    assert_eq!(tree.get(key).unwrap().program.argv0(), "");
}
