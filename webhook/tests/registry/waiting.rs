//! How long anybody waits, and what is remembered.

use super::*;

#[tokio::test]
async fn nobody_waits_longer_than_patience_and_the_answer_helps_the_next() {
    let content = web();
    let server = Server::start(ALLOWED, move |seen| {
        content.reply(seen).after(Duration::from_millis(400))
    })
    .await;
    let options = Options {
        patience: Duration::from_millis(50),
        ..Options::default()
    };
    let impatient = Resolver::new(http(&[&server], all_names()), options);
    let mine = scope("shop", &[]);
    let failure = ask(&impatient, &image(&server), &mine).await.unwrap_err();
    assert_eq!(failure.cause, Cause::TimedOut);
    impatient
        .warm(&wanted(&image(&server)), &mine, Duration::ZERO)
        .await
        .unwrap();
    assert_eq!(
        ask(&impatient, &image(&server), &mine).await.unwrap().cmd,
        ["serve"]
    );
    assert_eq!(impatient.requests(), 2, "the first look-up went on");
}

#[tokio::test]
async fn many_who_want_the_same_ask_once() {
    let content = web();
    let server = Server::start(ALLOWED, move |seen| {
        content.reply(seen).after(Duration::from_millis(100))
    })
    .await;
    let resolver = resolver(&[&server], Options::default());
    let image = image(&server);
    let tasks: Vec<_> = (0..50)
        .map(|_| {
            let (resolver, image) = (resolver.clone(), image.clone());
            tokio::spawn(async move { ask(&resolver, &image, &scope("shop", &[])).await.is_ok() })
        })
        .collect();
    for task in tasks {
        assert!(task.await.unwrap());
    }
    assert_eq!(resolver.requests(), 2);
}

#[tokio::test]
async fn one_namespace_cannot_keep_all_others_waiting() {
    let content = web();
    let server = Server::start(ALLOWED, move |seen| match seen.path.contains("slow") {
        true => Reply::status(404).after(Duration::from_secs(60)),
        false => content.reply(seen),
    })
    .await;
    let options = Options {
        patience: Duration::from_millis(100),
        ..Options::default()
    };
    let impatient = Resolver::new(http(&[&server], all_names()), options);
    let slow: Vec<Wanted> = (0..20)
        .map(|number| {
            wanted(&format!(
                "registry.example.com:{}/slow-{number}",
                server.port
            ))
        })
        .collect();
    let images = impatient.images(&slow, &scope("greedy", &[])).await;
    let count = |cause: Cause| {
        let is = |wanted: &&Wanted| {
            images
                .get(wanted)
                .unwrap()
                .as_ref()
                .is_err_and(|error| error.cause == cause)
        };
        slow.iter().filter(is).count()
    };
    assert_eq!(
        (count(Cause::TimedOut), count(Cause::TooManyLookups)),
        (8, 12)
    );
    impatient
        .warm(
            &wanted(&image(&server)),
            &scope("shop", &[]),
            Duration::ZERO,
        )
        .await
        .unwrap();
}

#[tokio::test]
async fn a_missing_image_is_not_asked_for_again_and_again() {
    let there = Arc::new(AtomicBool::new(false));
    let (content, pushed) = (web(), Arc::clone(&there));
    let server = Server::start(ALLOWED, move |seen| match pushed.load(Ordering::Relaxed) {
        true => content.reply(seen),
        false => Reply::status(404),
    })
    .await;
    let lifetimes = Lifetimes {
        failure: Duration::from_millis(300),
        ..Lifetimes::default()
    };
    let resolver = resolver(
        &[&server],
        Options {
            lifetimes,
            ..Options::default()
        },
    );
    let mine = scope("shop", &[]);
    let failure = ask(&resolver, &image(&server), &mine).await.unwrap_err();
    assert_eq!(failure.cause, Cause::ImageNotFound);
    // Long enough that the failure has surely been forgotten.
    there.store(true, Ordering::Relaxed);
    tokio::time::sleep(Duration::from_millis(400)).await;
    ask(&resolver, &image(&server), &mine).await.unwrap();

    let patient = registry::resolver(&[&server], Options::default());
    there.store(false, Ordering::Relaxed);
    for _ in 0..3 {
        ask(&patient, &image(&server), &mine).await.unwrap_err();
    }
    assert_eq!(patient.requests(), 1);
}

#[tokio::test]
async fn a_tag_that_did_not_move_costs_one_small_question_and_an_outage_nothing() {
    let down = Arc::new(AtomicBool::new(false));
    let (content, broken) = (web(), Arc::clone(&down));
    let server = Server::start(ALLOWED, move |seen| match broken.load(Ordering::Relaxed) {
        true => Reply::status(500),
        false => content.reply(seen),
    })
    .await;
    let lifetimes = Lifetimes {
        tag: Duration::ZERO,
        ..Lifetimes::default()
    };
    let resolver = resolver(
        &[&server],
        Options {
            lifetimes,
            ..Options::default()
        },
    );
    let mine = scope("shop", &[]);
    let first = ask(&resolver, &image(&server), &mine).await.unwrap();
    assert_eq!(ask(&resolver, &image(&server), &mine).await.unwrap(), first);
    let methods: Vec<String> = server.seen().into_iter().map(|seen| seen.method).collect();
    assert_eq!(methods, ["GET", "GET", "HEAD"]);
    down.store(true, Ordering::Relaxed);
    assert_eq!(
        ask(&resolver, &image(&server), &mine).await.unwrap(),
        first,
        "what was right before"
    );
}

#[tokio::test]
async fn a_moved_tag_is_noticed() {
    let moved = Arc::new(AtomicUsize::new(0));
    let mut second = Content::default();
    second.image("web", "1", "amd64", &["moved"]);
    let (contents, which) = ([web(), second], Arc::clone(&moved));
    let server = Server::start(ALLOWED, move |seen| {
        contents[which.load(Ordering::Relaxed)].reply(seen)
    })
    .await;
    let lifetimes = Lifetimes {
        tag: Duration::ZERO,
        ..Lifetimes::default()
    };
    let resolver = resolver(
        &[&server],
        Options {
            lifetimes,
            ..Options::default()
        },
    );
    let mine = scope("shop", &[]);
    assert_eq!(
        ask(&resolver, &image(&server), &mine).await.unwrap().cmd,
        ["serve"]
    );
    moved.store(1, Ordering::Relaxed);
    assert_eq!(
        ask(&resolver, &image(&server), &mine).await.unwrap().cmd,
        ["moved"]
    );
}
