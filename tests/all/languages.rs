//! One filter in several languages: each does the same on both engines. `tests/guests/languages/README.md` says what.

use switchover_tests::{Engine, Gateway, Setup, Upstream, assert_eventually, cases, programs};

const LANGUAGES: [&str; 4] = ["assemblyscript", "cpp", "go", "rust"];

/// Runs a check with each language's filter.
async fn each(engine: Engine, check: impl AsyncFn(&str, &Gateway, &Upstream)) {
    for language in LANGUAGES {
        let blue = Upstream::named("blue").await;
        let gateway = Setup::new(&[("blue", &blue)])
            .route_guest(&programs::language(language))
            .without_attempt_role()
            .inline()
            .start(engine)
            .await;
        check(language, &gateway, &blue).await;
    }
}

cases! {
    async fn every_language_does_the_same(engine: Engine) {
        each(engine, async |language, gateway, blue| {
            let mut client = gateway.client();
            let reply = client.get("/path").header("x-old", "value").send().await;
            assert_eq!((reply.status.as_u16(), reply.text()), (200, "blue"), "{language}");
            let seen = blue.request();
            assert_eq!((&seen.headers()["x-new"], &seen.headers()["x-language"]), (&"value".parse().unwrap(), &language.parse().unwrap()));
            assert!(!seen.headers().contains_key("x-old"), "{language}");

            let reply = client.get("/local").send().await;
            assert_eq!((reply.status.as_u16(), reply.text()), (200, language));
            assert_eq!(blue.count(), 1, "{language} answers by itself");

            assert_eq!(client.get("/defer").send().await.text(), "blue", "{language} resumes on its tick");
            assert_eq!(client.post("/body", "a body of Größe 10").send().await.text(), "blue", "{language}");
            // The Go filter turns all letters into capitals, the others those of ASCII.
            let sent = blue.requests().pop().unwrap();
            let body = std::str::from_utf8(sent.body()).unwrap().to_uppercase();
            assert_eq!(body, "A BODY OF GRÖSSE 10", "{language}");

            let line = format!("{language} saw /path");
            assert_eventually!(gateway.output().contains(&line), "no {line:?} in\n{}", gateway.output());
            gateway.metric(&format!("languages_{language}_requests")).becomes(4.0).await;
        })
        .await;
    }
}
