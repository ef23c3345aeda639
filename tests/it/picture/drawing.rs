//! The drawing alone, from events made by hand: what the demo's own tiers seldom or never do, and text that would be markup.

use super::*;

const EVIL: &str = "\"><img src=x onerror=\"window.hit=1\"><script>window.hit=1</script>";

/// A page whose backend answers with these events and this answer of the call.
async fn draw(browser: &Browser, world: &World, flow: &Value, answer: &Value) {
    let script = format!(
        "const real = window.fetch;\
         const json = (status, body) => Promise.resolve(new Response(JSON.stringify(body), {{ status, headers: {{ 'Content-Type': 'application/json' }} }}));\
         window.asked = [];\
         window.fetch = (path, options) => {{\
           if (path.startsWith('/flows') || path.startsWith('/api/')) window.asked.push([path, options.headers['X-Flow'] ?? null]);\
           if (path === '/flows') return json(201, {{ flow: 'made-by-hand' }});\
           if (path === '/flows/made-by-hand') return json(200, {flow});\
           if (path.startsWith('/api/')) return json({}, {});\
           return real(path, options);\
         }};",
        answer["status"], answer["body"]
    );
    let new_document = json!({ "source": script });
    browser
        .devtools("Page.addScriptToEvaluateOnNewDocument", new_document)
        .await;
    browser.goto(world.demo.spa().as_str()).await;
    browser.wait_for("#call-api").await;
}

fn c1() -> Value {
    json!({ "access_token": { "acrs": { "essential": true, "value": "c1" } } })
}

/// A whole story: refused by the token endpoint, stepped up, through to the downstream API.
fn story() -> Value {
    let header = "Bearer realm=\"\", error=\"insufficient_claims\", claims=\"eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzEifX19\"";
    let call = |at: u64, tier: &str, from: &str, to: &str, url: &str| {
        json!({ "at": at, "tier": tier, "kind": "call", "from": from, "to": to, "method": "GET", "url": url,
                "protocol": "http", "attempt": 1, "token_source": null })
    };
    let answer = |at: u64, tier: &str, from: &str, to: &str, status: u16, challenge: Value| {
        json!({ "at": at, "tier": tier, "kind": "answer", "from": from, "to": to, "status": status, "grpc_status": null,
                "challenge": challenge, "took_ms": 5 })
    };
    let card = |at: u64, tier: &str, contexts: Value| {
        json!({ "at": at, "tier": tier, "kind": "accepted", "card": {
            "audience": tier, "scopes": ["user_impersonation"], "contexts": contexts, "issued_at": 1_764_126_000, "expires_at": 1_764_129_600,
            "age_s": 12, "client": "5ba00000-0000-4000-8000-000000003000", "app_only": false } })
    };
    let token = |at: u64, kind: &str, tier: &str, extra: Value| {
        let (from, to) = match kind {
            "token_request" => (tier, "authority"),
            _ => ("authority", tier),
        };
        let mut event = json!({ "at": at, "tier": tier, "kind": kind, "from": from, "to": to, "grant": "on_behalf_of",
                                "scopes": ["api://downstream-api/user_impersonation"] });
        let more = extra.as_object().unwrap().clone();
        event.as_object_mut().unwrap().extend(more);
        event
    };
    let challenge = json!({ "header": header, "error": "insufficient_claims", "claims": c1() });
    let (middle, downstream) = ("http://localhost:5000/api", "http://localhost:7000/api");
    json!({ "flow": "made-by-hand", "started": 1_764_126_000_123_u64, "token_requests": 3, "events": [
        call(0, "spa-backend", "browser", "spa-backend", "http://localhost:3000/api/api"),
        call(2, "spa-backend", "spa-backend", "middle-tier", middle),
        // All in one millisecond, and not in order: the picture knows better.
        answer(4, "spa-backend", "middle-tier", "spa-backend", 401, challenge),
        card(4, "middle-tier", json!([])),
        token(4, "token_request", "middle-tier", json!({ "claims": null })),
        token(4, "token_refused", "middle-tier", json!({ "error": "interaction_required", "claims": c1() })),
        answer(5, "spa-backend", "browser", "spa-backend", 401, Value::Null),
        json!({ "at": 900, "tier": "spa-backend", "kind": "sign_in", "from": "browser", "to": "authority", "claims": c1(), "reason": "step_up" }),
        json!({ "at": 9000, "tier": "spa-backend", "kind": "signed_in", "from": "authority", "to": "browser" }),
        token(9010, "token_request", "spa-backend", json!({ "grant": "authorization_code", "claims": c1() })),
        token(9040, "token", "spa-backend", json!({ "grant": "authorization_code", "source": "authority" })),
        call(9100, "spa-backend", "browser", "spa-backend", "http://localhost:3000/api/ops/x"),
        call(9101, "spa-backend", "spa-backend", "middle-tier", middle),
        card(9102, "middle-tier", json!(["c1"])),
        token(9103, "token_request", "middle-tier", json!({ "claims": null })),
        token(9110, "token", "middle-tier", json!({ "source": "authority" })),
        call(9111, "middle-tier", "middle-tier", "downstream-api", downstream),
        card(9112, "downstream-api", json!(["c1"])),
        answer(9115, "middle-tier", "downstream-api", "middle-tier", 200, Value::Null),
        answer(9116, "spa-backend", "middle-tier", "spa-backend", 200, Value::Null),
        answer(9117, "spa-backend", "spa-backend", "browser", 200, Value::Null),
    ] })
}

const STEPS: [&str; 18] = [
    "call browser spa-backend request",
    "call spa-backend middle-tier request",
    "token_request middle-tier authority request",
    "token_refused authority middle-tier warn",
    "answer middle-tier spa-backend warn",
    "answer spa-backend browser warn",
    "sign_in browser authority request",
    "signed_in authority browser good",
    "token_request spa-backend authority request",
    "token authority spa-backend good",
    "call browser spa-backend good",
    "call spa-backend middle-tier good",
    "token_request middle-tier authority request",
    "token authority middle-tier good",
    "call middle-tier downstream-api good",
    "answer downstream-api middle-tier good",
    "answer middle-tier spa-backend good",
    "answer spa-backend browser good",
];

#[tokio::test]
async fn a_story_is_drawn_opened_and_played_again() {
    with_browser("picture-story", async |browser| {
        let world = World::start().await;
        sign_in(browser, &world, "alice", "alice-in-wonderland").await;
        media(browser, "reduce", "light").await;
        let answer = json!({ "status": 200, "body": { "name": "Alice" } });
        draw(browser, &world, &story(), &answer).await;
        browser.click("#call-api").await;
        done(browser).await;
        assert_eq!(steps(browser).await, STEPS);
        let asked = browser.execute("return window.asked.slice(0, 3)", &[]).await;
        assert!(
            asked.as_array().unwrap().contains(&json!(["/api/api", "made-by-hand"])),
            "{asked}"
        );
        let facts = browser.text("[data-part=facts]").await;
        assert_eq!(facts, "Elapsed 22 ms · 3 token requests");

        browser.click("#picture li:nth-child(5) button").await;
        let shown = browser.text("#hop").await;
        for part in [
            "WWW-Authenticate: Bearer realm=\"\", error=\"insufficient_claims\", claims=\"eyJhY2Nlc3Nf",
            "\"value\": \"c1\"",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        look(browser, "story").await;
        browser.click("#picture li:nth-child(15) button").await;
        let shown = browser.text("#hop").await;
        for part in [
            "downstream-api",
            "user_impersonation",
            "12 s",
            "5ba00000-0000-4000-8000-000000003000",
            "curl -i -X GET 'http://localhost:7000/api' -H \"Authorization: Bearer $TOKEN\"",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        browser.click("#hop .copy").await;
        browser.wait_for_text("#hop .copy", "ed").await;
        look(browser, "token").await;
        shows_no_token(browser).await;

        media(browser, "no-preference", "light").await;
        browser.click("#play-again").await;
        let playing = steps(browser).await;
        assert!(playing.len() < STEPS.len(), "one after another: {playing:?}");
        assert!(!browser.has("#hop:not([hidden])").await);
        browser.screenshot("picture-playing").await;
        done(browser).await;
        assert_eq!(steps(browser).await, STEPS);
        world.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_step_opens_by_keyboard() {
    const ENTER: &str = "\u{e007}";
    const ESCAPE: &str = "\u{e00c}";
    const TAB: &str = "\u{e004}";
    with_browser("picture-keyboard", async |browser| {
        let world = World::start().await;
        sign_in(browser, &world, "alice", "alice-in-wonderland").await;
        media(browser, "reduce", "light").await;
        let answer = json!({ "status": 200, "body": { "name": "Alice" } });
        draw(browser, &world, &story(), &answer).await;
        browser.keys("#call-api", ENTER).await;
        done(browser).await;
        // From the button above the picture into it.
        browser.keys("#play-again", TAB).await;
        let focused = "const e = document.activeElement; return [e.closest('li')?.dataset.kind ?? e.id, getComputedStyle(e).outlineStyle]";
        assert_eq!(browser.execute(focused, &[]).await, json!(["call", "solid"]));
        browser
            .keys("#picture li:nth-child(1) button", &[TAB, TAB, TAB, TAB, ENTER].concat())
            .await;
        browser.wait_for_text("#hop", "WWW-Authenticate").await;
        let expanded = "return document.querySelector('#picture li:nth-child(5) button').getAttribute('aria-expanded')";
        assert_eq!(browser.execute(expanded, &[]).await, "true");
        // Into the panel, which stands behind the whole list.
        let inside = "const e = document.activeElement; return [e.localName, e.closest('#hop') !== null]";
        assert_eq!(browser.execute(inside, &[]).await, json!(["h3", true]));
        let scrolled = "return [...document.querySelectorAll('#hop pre')].map(pre => [pre.tabIndex, pre.getAttribute('role'), pre.getAttribute('aria-label')])";
        assert_eq!(
            browser.execute(scrolled, &[]).await,
            json!([[0, "region", "The header as it was sent"], [0, "region", "Its claims, decoded"]])
        );
        browser.keys("#hop pre", ESCAPE).await;
        assert!(!browser.has("#hop:not([hidden])").await);
        assert_eq!(
            browser.execute(focused, &[]).await,
            json!(["answer", "solid"]),
            "the focus is back at its step"
        );
        // Every step says in words what the drawing shows.
        let names = "return [...document.querySelectorAll('#picture li button')].map(button => button.textContent.trim())";
        let names = browser.execute(names, &[]).await;
        for (name, part) in names.as_array().unwrap().iter().zip([
            "Browser calls SPA backend: GET /api/api",
            "The token is accepted",
            "asks for a token to act on your behalf",
            "refuses: it wants more of you first",
            "answers 401: a challenge",
        ]) {
            assert!(name.as_str().unwrap().contains(part), "{part} in {name}");
        }
        world.stop().await;
    })
    .await;
}

#[tokio::test]
async fn what_goes_wrong_is_drawn_and_hostile_text_stays_text() {
    with_browser("picture-odd", async |browser| {
        let world = World::start().await;
        sign_in(browser, &world, "alice", "alice-in-wonderland").await;
        media(browser, "reduce", "light").await;
        let flow = json!({ "flow": EVIL, "started": 0, "token_requests": 1, "events": [
            { "at": 0, "tier": "spa-backend", "kind": "call", "from": "browser", "to": "spa-backend", "method": "PATCH", "url": "http://localhost:3000/api/it's", "protocol": "http", "attempt": 1 },
            { "at": 1, "tier": "spa-backend", "kind": "call", "from": "spa-backend", "to": "middle-tier", "method": EVIL, "url": EVIL, "protocol": "http", "attempt": 2, "token_source": "session" },
            { "at": 2, "tier": "middle-tier", "kind": "accepted", "card": { "audience": EVIL, "scopes": [EVIL], "contexts": [EVIL], "client": EVIL, "age_s": 1, "app_only": false } },
            { "at": 3, "tier": "middle-tier", "kind": "token", "from": "authority", "to": "middle-tier", "grant": EVIL, "source": "memory", "scopes": [EVIL] },
            { "at": 4, "tier": "middle-tier", "kind": "call", "from": "middle-tier", "to": "graph", "method": "PATCH", "url": "http://localhost:8080/v1.0/me", "protocol": "http", "attempt": 1 },
            { "at": 5, "tier": "middle-tier", "kind": "answer", "from": "graph", "to": "middle-tier", "status": 403, "challenge": { "header": EVIL, "error": EVIL, "claims": { "access_token": { EVIL: EVIL } } } },
            { "at": 6, "tier": "middle-tier", "kind": "call", "from": "middle-tier", "to": "downstream-api", "method": "POST", "url": "http://localhost:7000/demo.downstream.v1.Downstream/Api", "protocol": "grpc", "attempt": 1, "token_source": "memory" },
            { "at": 7, "tier": "middle-tier", "kind": "no_answer", "from": "downstream-api", "to": "middle-tier", "reason": "unreachable" },
            { "at": 8, "tier": "middle-tier", "kind": EVIL, "from": "middle-tier", "to": "authority" },
            { "at": 8, "tier": "nowhere", "kind": "call", "from": "nowhere", "to": EVIL },
            { "at": 9, "tier": "spa-backend", "kind": "answer", "from": "spa-backend", "to": "middle-tier", "status": 502, "challenge": null },
            { "at": 9, "tier": "spa-backend", "kind": "answer", "from": "browser", "to": "spa-backend", "status": 502, "challenge": null },
        ] });
        let answer = json!({ "status": 502, "body": { "error": "api_unreachable", "detail": EVIL } });
        draw(browser, &world, &flow, &answer).await;
        browser.click("#call-api").await;
        done(browser).await;
        let drawn = steps(browser).await;
        assert_eq!(drawn[3], "call middle-tier graph request");
        assert_eq!(drawn[4], "answer graph middle-tier warn");
        assert_eq!(drawn[6], "no_answer downstream-api middle-tier bad");
        assert_eq!(
            drawn[8..],
            ["answer middle-tier spa-backend bad", "answer spa-backend browser bad"],
            "an answer runs left, whoever is named as its caller"
        );
        let heads = browser.execute("return document.querySelectorAll('.heads span').length", &[]).await;
        assert_eq!(heads, 6, "Graph has a lane when it is called");
        let mut shown = String::new();
        for step in 1..=drawn.len() {
            browser.click(&format!("#picture li:nth-child({step}) button")).await;
            shown += &browser.text("#hop").await;
        }
        for part in [
            EVIL,
            "'http://localhost:3000/api/it'\\''s'",
            "grpcurl -plaintext",
            "localhost:7000 demo.downstream.v1.Downstream/Api",
            "Downstream API is not reachable",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        let unharmed = "return [window.hit === undefined, document.querySelectorAll('#picture img, #picture script, .outcome img').length]";
        assert_eq!(browser.execute(unharmed, &[]).await, json!([true, 0]));
        look(browser, "odd").await;
        world.stop().await;
    })
    .await;
}

#[tokio::test]
async fn without_events_a_call_goes_on_without_a_picture() {
    with_browser("picture-none", async |browser| {
        let world = World::start().await;
        sign_in(browser, &world, "alice", "alice-in-wonderland").await;
        let script = "const real = window.fetch;\
            window.fetch = (path, options) => path.startsWith('/flows') ? Promise.resolve(new Response('', { status: 404 })) : real(path, options);";
        browser
            .devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }))
            .await;
        browser.goto(world.demo.spa().as_str()).await;
        browser.click("#call-api").await;
        browser.wait_for_text("#status", "Stronger sign-in").await;
        assert!(steps(browser).await.is_empty());
        browser.wait_for("#picture[data-state=idle]").await;
        world.stop().await;
    })
    .await;
}

#[tokio::test]
async fn events_are_asked_for_one_after_another() {
    with_browser("picture-slow", async |browser| {
        let world = World::start().await;
        sign_in(browser, &world, "alice", "alice-in-wonderland").await;
        // Neither the call nor the questions are answered; these are given up after a while, and only then comes the next.
        let script = "const real = window.fetch;\
            Object.assign(window, { asked: 0, open: 0, most: 0 });\
            window.fetch = (path, options) => {\
              if (path === '/flows') return Promise.resolve(new Response('{\"flow\":\"slow\"}', { status: 201 }));\
              if (path.startsWith('/api/')) return new Promise(() => {});\
              if (path !== '/flows/slow') return real(path, options);\
              window.asked += 1;\
              window.open += 1;\
              window.most = Math.max(window.most, window.open);\
              return new Promise((_, reject) => options.signal.addEventListener('abort', () => {\
                window.open -= 1;\
                reject(options.signal.reason);\
              }));\
            };";
        browser
            .devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }))
            .await;
        browser.goto(world.demo.spa().as_str()).await;
        browser.click("#call-api").await;
        let asked = browser
            .wait_until("it is asked again", async || {
                let asked = browser.execute("return [window.asked, window.most]", &[]).await;
                (asked[0].as_u64()? > 2).then_some(asked)
            })
            .await;
        assert_eq!(asked[1], 1, "{asked}");
        world.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_line_for_the_terminal_is_that_of_its_call() {
    with_browser("picture-terminal", async |browser| {
        let world = World::start().await;
        sign_in(browser, &world, "alice", "alice-in-wonderland").await;
        media(browser, "reduce", "light").await;
        let call = |at: u64, from: &str, to: &str, method: &str, url: &str, protocol: &str| {
            json!({ "at": at, "tier": from.replace("browser", "spa-backend"), "kind": "call", "from": from, "to": to, "method": method,
                    "url": url, "protocol": protocol, "attempt": 1 })
        };
        let rpc = "/demo.downstream.v1.Downstream/Api";
        let rows = [
            (
                call(0, "browser", "spa-backend", "PATCH", "https://localhost:3000/api/profile", "http"),
                "curl -i -X PATCH 'https://localhost:3000/api/profile' -H \"Cookie: $COOKIE\" -H \"X-Session-Token: $SESSION_TOKEN\" \
                 -H \"Sec-Fetch-Site: same-origin\" -H \"Content-Type: application/json\" -d @body.json",
            ),
            (
                call(1, "browser", "spa-backend", "POST", "http://localhost:3000/api/ops/%7Bid%7D", "http"),
                "curl -i -X POST 'http://localhost:3000/api/ops/OPERATION_ID' -H \"Cookie: $COOKIE\" \
                 -H \"X-Session-Token: $SESSION_TOKEN\" -H \"Sec-Fetch-Site: same-origin\"",
            ),
            (
                call(2, "middle-tier", "graph", "PATCH", "http://localhost:8080/v1.0/me", "http"),
                "curl -i -X PATCH 'http://localhost:8080/v1.0/me' -H \"Authorization: Bearer $TOKEN\" \
                 -H \"Content-Type: application/json\" -d @body.json",
            ),
            (
                call(3, "middle-tier", "downstream-api", "POST", &format!("http://localhost:7000{rpc}"), "grpc"),
                "grpcurl -plaintext -import-path demo-services/proto -proto downstream.proto -H \"Authorization: Bearer $TOKEN\" \
                 localhost:7000 demo.downstream.v1.Downstream/Api",
            ),
            (
                call(4, "middle-tier", "downstream-api", "POST", &format!("https://localhost:7000{rpc}"), "grpc"),
                "grpcurl -import-path demo-services/proto -proto downstream.proto -H \"Authorization: Bearer $TOKEN\" \
                 localhost:7000 demo.downstream.v1.Downstream/Api",
            ),
        ];
        let events: Vec<_> = rows.iter().map(|(event, _)| event).collect();
        let flow = json!({ "flow": "made-by-hand", "started": 0, "token_requests": 0, "events": events });
        draw(browser, &world, &flow, &json!({ "status": 200, "body": {} })).await;
        browser.click("#call-api").await;
        done(browser).await;
        for (step, (_, expected)) in (1..).zip(&rows) {
            browser.click(&format!("#picture li:nth-child({step}) button")).await;
            assert_eq!(browser.text("#hop [data-kind=curl]").await, *expected);
        }
        // The demo says where the CA of its https is.
        let told = "document.getElementById('picture').dataset.caFile = \"/it's/ca.pem\"";
        browser.execute(told, &[]).await;
        for (step, expected) in [
            (1, "curl -i --cacert '/it'\\''s/ca.pem' -X PATCH 'https:"),
            (2, "curl -i -X POST 'http:"),
            (4, "grpcurl -plaintext -import-path"),
            (5, "grpcurl -cacert '/it'\\''s/ca.pem' -import-path"),
        ] {
            browser.click(&format!("#picture li:nth-child({step}) button")).await;
            let shown = browser.text("#hop [data-kind=curl]").await;
            assert!(shown.starts_with(expected), "{shown}");
        }
        world.stop().await;
    })
    .await;
}
