//! What `helm template` and `kustomize build` print, through `picket` by standard input.

use serde_json::Value;

const HELM: &str = include_str!("helm.yaml");
const KUSTOMIZE: &str = include_str!("kustomize.yaml");

/// What a subcommand writes to standard output when it reads this.
fn picket(subcommand: &str, input: &str) -> String {
    let (code, out, report) = crate::picket(&[subcommand, "-f", "-"], input);
    assert_eq!(code, Some(0), "{report}");
    out
}

/// The documents of a stream as they are written, without the lines between them.
fn documents(stream: &str) -> Vec<&str> {
    let stream = stream
        .trim_start_matches("---\n")
        .trim_start_matches("---\r\n");
    let between = if stream.contains("\r\n") {
        "\r\n---\r\n"
    } else {
        "\n---\n"
    };
    stream.split(between).collect()
}

/// A document as the Kubernetes tools read it.
fn read(document: &str) -> Value {
    let options = serde_saphyr::options! { legacy_octal_numbers: true };
    serde_saphyr::from_str_with_options(document, options)
        .unwrap_or_else(|error| panic!("{error}: {document}"))
}

/// Like a value, but unlike one it is equal only if keys are in the same order too. Nulls that a
/// chart leaves behind (`tolerations:`) mean the same as nothing.
fn in_order(document: &str) -> String {
    fn without_nulls(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|_, value| !value.is_null());
                map.values_mut().for_each(without_nulls);
            }
            Value::Array(list) => list.iter_mut().for_each(without_nulls),
            _ => {}
        }
    }
    let comments_only = document
        .lines()
        .all(|line| line.trim().is_empty() || line.starts_with('#'));
    let mut value = match comments_only {
        true => Value::Null,
        false => read(document),
    };
    without_nulls(&mut value);
    value.to_string()
}

/// Injects a stream; fails unless these documents (counted from 0), and no others, change, and
/// unless everything comes back.
#[track_caller]
fn only_these_change(stream: &str, changing: &[usize]) -> String {
    let injected = picket("inject", stream);
    let (before, after) = (documents(stream), documents(&injected));
    assert_eq!(after.len(), before.len(), "{injected}");
    for (index, (before, after)) in before.iter().zip(&after).enumerate() {
        if changing.contains(&index) {
            assert!(after.contains("picket-setup"), "{after}");
            let comments = |text: &str| -> Vec<String> {
                let lines = text.lines().take_while(|line| line.starts_with('#'));
                lines.map(str::to_owned).collect()
            };
            assert_eq!(comments(after), comments(before));
        } else {
            assert_eq!(after, before, "byte for byte");
        }
    }

    let twice = picket("inject", &injected);
    assert_eq!(twice, injected, "twice equals once");

    let given_back = picket("uninject", &injected);
    let back = documents(&given_back);
    assert_eq!(back.len(), before.len());
    for (before, back) in before.iter().zip(back) {
        assert_eq!(in_order(back), in_order(before));
    }
    injected
}

#[test]
fn a_rendered_chart_with_hooks_and_empty_documents() {
    let injected = only_these_change(HELM, &[5, 6, 7, 8]);
    // What looked like another type in the chart still is what it was.
    let deployment = read(documents(&injected)[5]);
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(pod["volumes"][0]["configMap"]["defaultMode"], 0o644);
    let shop = &pod["containers"][0];
    assert_eq!(
        shop["args"],
        serde_json::json!([
            "/app/shop",
            "--port",
            "8080",
            "--flag=on",
            "--date=2024-01-01"
        ])
    );
    assert_eq!(shop["env"][2]["value"], "1.10");
    let wait = &pod["initContainers"][2];
    assert_eq!(wait["name"], "wait");
    assert_eq!(
        wait["args"][2],
        "until nc -z db 5432; do\n  echo \"waiting # for db\"\n  sleep 1\ndone\n"
    );
    let hooks = &read(documents(&injected)[7])["metadata"]["annotations"];
    assert_eq!(hooks["helm.sh/hook"], "test");
}

#[test]
fn a_kustomization_with_lists_anchors_and_kinds_that_nobody_knows() {
    let injected = only_these_change(KUSTOMIZE, &[3, 4]);
    let list = read(documents(&injected)[3]);
    for pod in [
        &list["items"][0]["spec"]["template"]["spec"],
        &list["items"][2]["items"][0]["spec"],
    ] {
        assert_eq!(pod["initContainers"][0]["name"], "picket-setup");
    }
    assert_eq!(
        list["items"][1],
        read(documents(KUSTOMIZE)[3])["items"][1],
        "no workload"
    );
    let labels = &read(documents(&injected)[4])["spec"]["template"]["metadata"]["labels"];
    assert_eq!(*labels, serde_json::json!({"app": "db", "tier": "primary"}));
}

#[test]
fn line_ends_of_windows_stay() {
    let windows = HELM.replace('\n', "\r\n");
    let injected = only_these_change(&windows, &[5, 6, 7, 8]);
    assert_eq!(
        injected.matches('\n').count(),
        injected.matches("\r\n").count()
    );
    let unix = picket("inject", HELM);
    for (windows, unix) in documents(&injected).into_iter().zip(documents(&unix)) {
        assert_eq!(in_order(windows), in_order(unix), "the same in meaning");
    }
}

#[test]
fn a_list_in_json_stays_json() {
    let list = serde_json::json!({
        "apiVersion": "v1",
        "kind": "List",
        "items": [read(documents(HELM)[5]), read(documents(HELM)[4])],
    });
    let text = serde_json::to_string_pretty(&list).expect("JSON");
    let injected = picket("inject", &text);
    let parsed: Value = serde_json::from_str(&injected).expect("JSON");
    assert_eq!(parsed["items"][1], list["items"][1]);
    assert!(injected.contains("picket-setup"));
    let back = picket("uninject", &injected);
    assert_eq!(in_order(&back), in_order(&text));
}

#[test]
fn explain_and_diff_name_every_workload_and_touch_nothing_else() {
    let explained = picket("explain", HELM);
    let told: Vec<&str> = explained
        .lines()
        .filter(|line| !line.starts_with(' ') && line.contains(" default/"))
        .collect();
    assert_eq!(
        told,
        [
            "Deployment default/release-shop",
            "CronJob default/release-shop-cleanup",
            "Pod default/release-shop-test",
            "Job default/release-shop-migrate",
        ]
    );
    assert!(
        explained.contains("container metrics: not traced, EntrypointUnresolved"),
        "{explained}"
    );
    let diff = picket("diff", HELM);
    let removed = |line: &&str| line.starts_with('-') && !line.starts_with("---");
    for line in diff.lines().filter(removed) {
        let word = line.trim_start_matches('-').trim();
        assert!(
            word.starts_with("command:") || word.starts_with("- ") || word.starts_with("args:"),
            "{line} in {diff}"
        );
    }
    assert!(!diff.contains("kind: ConfigMap"), "{diff}");
}
