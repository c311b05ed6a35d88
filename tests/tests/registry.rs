//! Image entrypoints from a real registry: with the resolver alone, through a real API server,
//! and offline.

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use picket_tests::kube::objects::{condition, is_bare};
use picket_tests::kube::{ControlPlane, Operator, Options, eventually};
use picket_tests::product;
use picket_tests::registry::{Access, PASSWORD, Registry, USER};
use picket_webhook::entrypoint::{
    Cause, Guard, Http, ImageConfig, Keychain, Options as ResolverOptions, Platform, PullScope,
    Resolver, Unresolved, Wanted,
};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use serde_json::{Value, json};

/// A resolver that trusts a registry, may reach it, and has this password for it.
fn resolver(registry: &Registry, password: Option<&str>) -> (Resolver, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("config.json");
    if let Some(password) = password {
        std::fs::write(&file, registry.docker_config(password).to_string()).expect("config");
    }
    let guard = Guard {
        allowed: vec!["127.0.0.0/8".parse().expect("network")],
        ..Guard::default()
    };
    let authority = CertificateDer::from_pem_file(registry.authority()).expect("certificate");
    let http = Arc::new(Http::new(guard, [authority], []).expect("client"));
    let keychain = Keychain {
        files: password.map(|_| file).into_iter().collect(),
        ..Keychain::default()
    };
    let options = ResolverOptions {
        keychain,
        patience: Duration::from_secs(60),
        ..ResolverOptions::default()
    };
    (Resolver::new(http, options), folder)
}

async fn ask(
    resolver: &Resolver,
    image: &str,
    architecture: &str,
) -> Result<Arc<ImageConfig>, Unresolved> {
    let wanted = Wanted {
        image: image.to_owned(),
        platform: Platform::linux(architecture),
    };
    let images = resolver
        .images(std::slice::from_ref(&wanted), &PullScope::default())
        .await;
    images.get(&wanted).expect("an answer").clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_registry_with_each_kind_of_access() {
    // Index, manifest and configuration; a challenge where there is a password; a token for it.
    for (access, requests) in [(Access::Open, 3), (Access::Password, 4), (Access::Token, 5)] {
        let registry = Registry::start(access);
        registry.push("team/web", "1");
        let image = format!("{}/team/web:1", registry.host);
        let (right, _folder) = resolver(&registry, Some(PASSWORD));
        let begin = Instant::now();
        let config = ask(&right, &image, "amd64")
            .await
            .unwrap_or_else(|error| panic!("{access:?}: {error}"));
        println!("{access:?}: cold in {:?}", begin.elapsed());
        assert_eq!(
            right.requests(),
            requests,
            "{access:?}: what a cold answer costs"
        );
        assert_eq!(config.entrypoint, ["/app", "$HOME"]);
        assert_eq!(config.cmd, ["amd64"]);
        assert_eq!(config.user.as_deref(), Some("1000:1000"));
        assert_eq!(config.working_dir.as_deref(), Some("/srv"));
        assert_eq!(config.stop_signal.as_deref(), Some("SIGQUIT"));
        assert_eq!(config.path.as_deref(), Some("/opt/bin:/bin"));
        let before = right.requests();
        ask(&right, &image, "amd64").await.expect("warm");
        assert_eq!(right.requests(), before, "a warm cache asks nobody");
        let by_digest = format!("{}/team/web@{}", registry.host, config.digest);
        assert_eq!(
            ask(&right, &by_digest, "arm64")
                .await
                .expect("by digest")
                .cmd,
            ["arm64"]
        );
        assert_eq!(
            registry.tokens() > 0,
            access == Access::Token,
            "{}",
            registry.log()
        );

        let causes = |answer: Result<Arc<ImageConfig>, Unresolved>| {
            answer.map(|_| ()).map_err(|error| error.cause)
        };
        let missing = format!("{}/team/web:2", registry.host);
        assert_eq!(
            causes(ask(&right, &missing, "amd64").await),
            Err(Cause::ImageNotFound)
        );
        assert_eq!(
            causes(ask(&right, &image, "s390x").await),
            Err(Cause::NoPlatform)
        );
        for password in [None, Some("wrong")] {
            let (other, _folder) = resolver(&registry, password);
            let expected = if access == Access::Open {
                Ok(())
            } else {
                Err(Cause::Unauthorized)
            };
            assert_eq!(
                causes(ask(&other, &image, "amd64").await),
                expected,
                "{access:?} {password:?}"
            );
        }
    }
}

/// An operator that may look up images of a registry of this machine.
fn operator(registry: &Registry) -> Operator {
    let options = Options {
        arguments: vec![
            "--read-pull-secrets=true".to_owned(),
            "--warm-images=true".to_owned(),
            "--registry-timeout-milliseconds=4000".to_owned(),
            "--registry-allow-network=127.0.0.0/8".to_owned(),
            format!("--registry-ca={}", registry.authority().display()),
        ],
        further_rules: vec!["pull-secrets.yaml", "prewarm.yaml"],
        ..Options::default()
    };
    Operator::install(ControlPlane::shared(), &options)
}

fn pod(namespace: &str, name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"containers": [{"name": "web", "image": image}]},
    })
}

/// The sum of a counter's samples that hold all of these.
fn counted(operator: &Operator, name: &str, labels: &[&str]) -> u64 {
    let metrics = operator.replicas[0].get("/metrics").expect("metrics").body;
    let samples = metrics
        .lines()
        .filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
    samples
        .filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok())
        .sum()
}

#[test]
fn a_policy_whose_sidecar_image_is_not_in_the_registry_is_not_ready() {
    let registry = Registry::start(Access::Open);
    let options = Options {
        sidecar_image: format!("{}/picket-sidecar:missing", registry.host),
        arguments: vec![
            "--preflight=true".to_owned(),
            "--registry-allow-network=127.0.0.0/8".to_owned(),
            format!("--registry-ca={}", registry.authority().display()),
        ],
        further_rules: vec!["preflight.yaml"],
        ..Options::default()
    };
    let operator = Operator::install(ControlPlane::shared(), &options);
    let namespace = operator.protected("unpullable", &[]);
    let told = eventually("the policy says that it is not ready", || {
        let policy = operator
            .kubectl()
            .get("protectionpolicy", &namespace, "all")?;
        let ready = condition(&policy, "Ready");
        (ready["reason"] == "SidecarImageUnpullable").then_some(ready)
    });
    assert_eq!(told["status"], "False", "{told:#}");
    let message = told["message"].as_str().expect("message");
    assert!(message.contains("ImageNotFound"), "{message}");
    assert!(message.contains(&namespace), "{message}");
}

#[test]
fn a_pod_without_a_command_comes_back_wrapped() {
    let registry = Registry::start(Access::Token);
    registry.push("team/web", "1");
    let image = format!("{}/team/web:1", registry.host);
    let operator = operator(&registry);
    let kubectl = operator.kubectl();

    let namespace = operator.protected("images", &[]);
    kubectl.apply(&registry.pull_secret(&namespace, "pull", false), false);
    let mut given = pod(&namespace, "web", &image);
    given["spec"]["imagePullSecrets"] = json!([{"name": "absent"}, {"name": "pull"}]);
    let injected = kubectl.apply(&given, false);
    let web = &injected["spec"]["containers"][0];
    assert_eq!(web["command"][0], "/picket/picket-tracer", "{injected:#}");
    assert_eq!(web["args"], json!(["/app", "$$HOME", "amd64"]));
    assert_eq!(web["image"], json!(image));
    let before = counted(&operator, "picket_entrypoint_requests_total", &[]);
    given["metadata"]["name"] = json!("again");
    kubectl.apply(&given, false);
    assert_eq!(
        counted(&operator, "picket_entrypoint_requests_total", &[]),
        before
    );
    assert!(
        counted(
            &operator,
            "picket_entrypoint_lookups_total",
            &["cache=\"hit\"", "outcome=\"Resolved\""]
        ) >= 1
    );

    // The older form, given to pods by their service account.
    let by_account = operator.protected("images-account", &[]);
    kubectl.apply(&registry.pull_secret(&by_account, "old", true), false);
    let patch = json!({"imagePullSecrets": [{"name": "old"}]}).to_string();
    kubectl
        .run(
            &[
                "patch",
                "serviceaccount",
                "default",
                "-n",
                &by_account,
                "-p",
                &patch,
            ],
            "",
        )
        .expect_success();
    let injected = eventually("the service account's secret is given to pods", || {
        let name = format!("web-{}", std::process::id());
        let created = kubectl.apply(&pod(&by_account, &name, &image), true);
        (!created["spec"]["imagePullSecrets"].is_null()).then_some(created)
    });
    assert_eq!(
        injected["spec"]["containers"][0]["args"],
        json!(["/app", "$$HOME", "amd64"])
    );

    // Another namespace has no credentials, and what the first one knows is no answer to it.
    let other = operator.protected("images-bare", &[]);
    let bare = kubectl.run(
        &["create", "-f", "-", "-o", "json"],
        &pod(&other, "web", &image).to_string(),
    );
    let bare = bare.expect_success();
    assert!(is_bare(&bare.json()));
    assert!(
        bare.stderr.contains("EntrypointUnresolved"),
        "{}",
        bare.stderr
    );
    assert!(bare.stderr.contains("Unauthorized"), "{}", bare.stderr);
    assert!(!bare.stderr.contains(PASSWORD));

    // The API server told which networks its Services have.
    let service = pod(&other, "service", "10.96.0.1/web:1").to_string();
    let service = kubectl
        .run(&["create", "-f", "-"], &service)
        .expect_success();
    assert!(
        service.stderr.contains("AddressRefused"),
        "{}",
        service.stderr
    );

    let enforced = operator.namespace("images-enforced", &[("picket.dev/enforce", "true")]);
    operator.protect(
        &enforced,
        "all",
        json!({"computeType": "Any", "entrypoint": {"onFailure": "Deny"}}),
    );
    let refused = kubectl.run(
        &["create", "-f", "-"],
        &pod(&enforced, "web", &image).to_string(),
    );
    assert!(!refused.success);
    assert!(
        refused.stderr.contains("EntrypointUnresolved"),
        "{}",
        refused.stderr
    );
}

#[test]
fn images_of_workloads_are_known_before_their_pods_come() {
    let registry = Registry::start(Access::Password);
    registry.push("team/warm", "1");
    let image = format!("{}/team/warm:1", registry.host);
    let operator = operator(&registry);
    let kubectl = operator.kubectl();
    let namespace = operator.namespace("warm", &[]);
    kubectl.apply(&registry.pull_secret(&namespace, "pull", false), false);
    let mut template = pod(&namespace, "warm", &image);
    template["spec"]["imagePullSecrets"] = json!([{"name": "pull"}]);
    let deployment = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "warm", "namespace": namespace},
        "spec": {
            "selector": {"matchLabels": {"app": "warm"}},
            "template": {"metadata": {"labels": {"app": "warm"}}, "spec": template["spec"]},
        },
    });
    kubectl.apply(&deployment, false);
    // A policy that comes later is noticed too.
    operator.protect(
        &namespace,
        "all",
        json!({"computeType": "Any", "entrypoint": {"pinDigest": true}}),
    );
    // There is no controller here that would make a pod of it.
    eventually("the image is in the cache", || {
        (counted(&operator, "picket_entrypoint_resolution_seconds_count", &[]) > 0).then_some(())
    });
    let before = counted(&operator, "picket_entrypoint_requests_total", &[]);
    let injected = kubectl.apply(&template, false);
    assert_eq!(
        injected["spec"]["containers"][0]["args"],
        json!(["/app", "$$HOME", "amd64"])
    );
    let pinned = injected["spec"]["containers"][0]["image"]
        .as_str()
        .expect("image");
    assert!(pinned.starts_with(&format!("{image}@sha256:")), "{pinned}");
    assert_eq!(
        counted(&operator, "picket_entrypoint_requests_total", &[]),
        before
    );
    assert_eq!(
        counted(
            &operator,
            "picket_entrypoint_lookups_total",
            &["cache=\"miss\""]
        ),
        0
    );
}

#[test]
fn the_offline_commands_ask_with_the_user_s_own_credentials() {
    let registry = Registry::start(Access::Password);
    registry.push("team/web", "1");
    let folder = tempfile::tempdir().expect("folder");
    std::fs::write(
        folder.path().join("config.json"),
        registry.docker_config(PASSWORD).to_string(),
    )
    .expect("config");
    let manifest = pod("shop", "web", &format!("{}/team/web:1", registry.host)).to_string();
    let picket = |command: &str, arguments: &[&str]| {
        let mut child = Command::new(product("picket"))
            .args([command, "-f", "-"])
            .args(arguments)
            .env("DOCKER_CONFIG", folder.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("picket starts");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(manifest.as_bytes())
            .expect("written");
        let output = child.wait_with_output().expect("picket ends");
        String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr)
    };
    let authority = registry.authority().display().to_string();
    let trusting = ["--resolve", "registry", "--registry-ca", &authority];
    let explained = picket("explain", &trusting);
    assert!(
        explained.contains("runs [\"/app\", \"$$HOME\", \"amd64\"] (from Image)"),
        "{explained}"
    );
    assert!(
        explained.contains("user 1000:1000, working directory /srv, stop signal SIGQUIT"),
        "{explained}"
    );
    assert!(picket("inject", &trusting).contains("$$HOME"));
    let quiet = picket("explain", &[]);
    assert!(quiet.contains("EntrypointUnresolved"), "{quiet}");
    assert!(
        quiet.contains("not looked up (--resolve registry): localhost:"),
        "{quiet}"
    );
    let strange = picket("explain", &["--resolve", "registry"]);
    assert!(strange.contains("UntrustedTls"), "{strange}");
    assert!(
        !strange.contains(PASSWORD) && !strange.contains(USER),
        "{strange}"
    );
}
