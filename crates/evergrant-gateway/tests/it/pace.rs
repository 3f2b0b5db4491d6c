//! Callers who share a provider's rate limit through the gateway.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use evergrant::core::pace::{PaceRules, WhenLimited};
use http::{Request, Response, StatusCode};

use crate::support::*;

/// A provider's count of requests, in windows that follow one another.
struct Limit {
    allowed: u32,
    length: Duration,
    state: Mutex<Windows>,
}

struct Windows {
    begun: Instant,
    /// Requests served by path, window by window.
    served: Vec<BTreeMap<String, u32>>,
    count: u32,
    refused: u32,
}

impl Limit {
    /// An upstream that allows so many requests in a window and says so as Genesys Cloud does.
    async fn serve(allowed: u32, length: Duration) -> (TestUpstream, Arc<Self>) {
        let windows = Windows { begun: Instant::now(), served: vec![BTreeMap::new()], count: 0, refused: 0 };
        let limit = Arc::new(Self { allowed, length, state: Mutex::new(windows) });
        let answering = Arc::clone(&limit);
        let upstream = TestUpstream::start(move |request| {
            let response = answering.answer(request.uri().path());
            async move { response }
        })
        .await;
        (upstream, limit)
    }

    fn answer(&self, path: &str) -> Response<Body> {
        let mut state = self.state.lock().unwrap();
        while state.begun.elapsed() >= self.length {
            state.begun += self.length;
            state.count = 0;
            state.served.push(BTreeMap::new());
        }
        state.count += 1;
        let left = (self.length - state.begun.elapsed()).as_secs_f64().ceil();
        let is_good = state.count <= self.allowed;
        if is_good {
            *state.served.last_mut().unwrap().entry(path.to_owned()).or_default() += 1;
        } else {
            state.refused += 1;
        }
        let mut response = answer(if is_good { 200 } else { 429 }, "{}");
        let headers = response.headers_mut();
        for (name, value) in [
            ("inin-ratelimit-count", state.count.to_string()),
            ("inin-ratelimit-allowed", self.allowed.to_string()),
            ("inin-ratelimit-reset", left.to_string()),
        ] {
            headers.insert(name, value.parse().unwrap());
        }
        if !is_good {
            headers.insert("retry-after", left.to_string().parse().unwrap());
        }
        response
    }

    fn windows(&self) -> usize {
        self.state.lock().unwrap().served.len()
    }
}

fn request(gateway: &TestGateway, caller: &str) -> Request<Body> {
    let url = gateway.url(&format!("/{caller}"));
    Request::get(url).header("evergrant-caller", caller).body(full("")).unwrap()
}

/// Lets callers ask again and again, each on so many connections, until the provider's window of this number begins.
/// Gives the number of answers other than 200.
async fn press(gateway: &TestGateway, limit: &Arc<Limit>, callers: &[(&'static str, usize)], until: usize) -> usize {
    let mut connections = tokio::task::JoinSet::new();
    for (name, count) in callers {
        for _ in 0..*count {
            let (limit, name, url) = (Arc::clone(limit), *name, gateway.url(&format!("/{name}")));
            connections.spawn(async move {
                let (caller, mut bad) = (caller(), 0);
                while limit.windows() <= until {
                    let request = Request::get(&url).header("evergrant-caller", name).body(full("")).unwrap();
                    bad += usize::from(fetch(&caller, request).await.0.status() != StatusCode::OK);
                }
                bad
            });
        }
    }
    connections.join_all().await.into_iter().sum()
}

#[tokio::test]
async fn five_callers_get_the_same_of_a_limit_and_never_a_429() {
    let (upstream, limit) = Limit::serve(120, Duration::from_secs(2)).await;
    let gateway = TestGateway::start(upstream.addr).await;
    let callers = [("a", 8), ("b", 1), ("c", 8), ("d", 2), ("e", 1)];
    assert_eq!(press(&gateway, &limit, &callers, 4).await, 0, "answers other than 200");
    let state = limit.state.lock().unwrap();
    assert_eq!(state.refused, 0);
    // The first window is there to learn the limit, the last was broken off.
    let windows = &state.served[1..4];
    let of = |name: &str| -> u32 { windows.iter().filter_map(|served| served.get(name)).sum() };
    let counts = ["/a", "/b", "/c", "/d", "/e"].map(of);
    let fair = counts.iter().sum::<u32>() / 5;
    assert!(counts.iter().all(|count| count.abs_diff(fair) * 10 <= fair), "{counts:?}");
    let served: u32 = state.served[2..4].iter().flat_map(BTreeMap::values).sum();
    assert!(served * 100 >= 2 * 120 * 85, "{:?}", state.served);
}

#[tokio::test]
async fn a_caller_of_weight_three_gets_three_times_as_much() {
    let (upstream, limit) = Limit::serve(120, Duration::from_secs(2)).await;
    let weights = BTreeMap::from([("nightly".to_owned(), 3)]);
    let gateway = TestGateway::with(upstream.addr, |config| config.pace.weights = weights).await;
    assert_eq!(press(&gateway, &limit, &[("nightly", 3), ("ui", 5)], 3).await, 0, "answers other than 200");
    let state = limit.state.lock().unwrap();
    let of = |name: &str| -> u32 { state.served[1..3].iter().filter_map(|served| served.get(name)).sum() };
    let ratio = f64::from(of("/nightly")) / f64::from(of("/ui"));
    assert!((2.6..=3.4).contains(&ratio), "{ratio} of {:?}", state.served);
}

#[tokio::test]
async fn callers_that_do_not_wait_get_a_429_with_the_time_left_and_the_provider_sends_none() {
    let (upstream, limit) = Limit::serve(20, Duration::from_secs(60)).await;
    let gateway = TestGateway::with(upstream.addr, |config| config.pace.when_limited = WhenLimited::Answer).await;
    let mut good = 0;
    let (head, body) = loop {
        let (head, body) = fetch(&caller(), request(&gateway, "a")).await;
        if head.status() != StatusCode::OK {
            break (head, body);
        }
        good += 1;
    };
    assert_eq!((good, limit.state.lock().unwrap().refused), (19, 0), "one is kept in reserve");
    assert_eq!(head.status(), StatusCode::TOO_MANY_REQUESTS);
    assert_eq!(head.headers()["content-type"], "application/problem+json");
    let wait: u64 = head.headers()["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((30..=62).contains(&wait), "{wait}");
    assert!(head.headers()["evergrant-verdict"].to_str().unwrap().starts_with("rate_limited; certain; "));
    assert!(String::from_utf8_lossy(&body).contains("rate limit"));
}

/// An upstream that answers the first request with 429 and `Retry-After`, and notes how long after it the others came.
async fn limiting_once(secs: &'static str, log: &Log) -> (TestUpstream, Arc<Mutex<Vec<Duration>>>) {
    let times = Arc::new(Mutex::new(Vec::new()));
    let (noted, log, begun) = (Arc::clone(&times), log.clone(), Instant::now());
    let upstream = TestUpstream::start(move |request| {
        let (noted, log) = (Arc::clone(&noted), log.clone());
        async move {
            noted.lock().unwrap().push(begun.elapsed());
            if log.note(request).await > 1 {
                return answer(200, "fine");
            }
            let mut response = answer(429, "not now");
            response.headers_mut().insert("retry-after", secs.parse().unwrap());
            response
        }
    })
    .await;
    (upstream, times)
}

/// Requests that wait at the gateway.
async fn waiting(gateway: &TestGateway) -> u64 {
    let (_, status) = get(format!("http://{}/status", gateway.admin)).await;
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    status["gateway"]["rate"]["waiting"].as_u64().unwrap()
}

async fn until_waiting(gateway: &TestGateway, count: u64) {
    soon("the queue", async { while waiting(gateway).await != count {} }).await;
}

#[tokio::test]
async fn one_callers_429_is_waited_out_by_all_and_its_request_is_sent_again() {
    let log = Log::default();
    let (upstream, times) = limiting_once("1", &log).await;
    let gateway = Arc::new(TestGateway::start(upstream.addr).await);
    let post = Request::post(gateway.url("/first")).body(full("once")).unwrap();
    let first = tokio::spawn(async move { fetch(&caller(), post).await.0.status() });
    until_waiting(&gateway, 1).await;
    let others: Vec<_> = ["a", "b", "c"]
        .map(|name| {
            let request = request(&gateway, name);
            tokio::spawn(async move { fetch(&caller(), request).await.0.status() })
        })
        .into_iter()
        .collect();
    until_waiting(&gateway, 4).await;
    // A caller with a token of its own has a limit of its own.
    let own = Request::get(gateway.url("/own")).header("authorization", "Bearer mine").body(full("")).unwrap();
    assert_eq!(fetch(&caller(), own).await.0.status(), StatusCode::OK);
    assert_eq!(waiting(&gateway).await, 4);
    for caller in others.into_iter().chain([first]) {
        assert_eq!(caller.await.unwrap(), StatusCode::OK);
    }
    let times = times.lock().unwrap();
    let late: Vec<_> = times[1..].iter().filter(|time| **time - times[0] >= Duration::from_secs(1)).collect();
    assert_eq!((times.len(), late.len()), (6, 4), "{times:?}");
    let posts: Vec<_> = log.all().into_iter().filter(|seen| seen.head == "POST /first").collect();
    assert!(posts.len() == 2 && posts.iter().all(|seen| seen.body == "once"));
    assert!(log.all().iter().all(|seen| !seen.headers.contains_key("evergrant-caller")));
}

#[tokio::test]
async fn the_queue_is_bounded_and_who_goes_away_makes_room() {
    let log = Log::default();
    let (upstream, _) = limiting_once("600", &log).await;
    let rules = PaceRules { queue_per_caller: 2, queue: 3, ..PaceRules::default() };
    let gateway = TestGateway::with(upstream.addr, |config| {
        config.pace = rules;
        config.timeouts.token_wait = Duration::from_secs(3_600);
    })
    .await;
    let send = |name: &str| {
        let request = request(&gateway, name);
        tokio::spawn(async move { caller().request(request).await.map(|response| response.status()) })
    };
    let held = [send("a")];
    until_waiting(&gateway, 1).await;
    let second = send("a");
    until_waiting(&gateway, 2).await;
    assert_eq!(send("a").await.unwrap().unwrap(), StatusCode::TOO_MANY_REQUESTS, "no more of one caller");
    let third = send("b");
    until_waiting(&gateway, 3).await;
    assert_eq!(send("c").await.unwrap().unwrap(), StatusCode::TOO_MANY_REQUESTS, "no more in total");
    for gone in held.into_iter().chain([second, third]) {
        gone.abort();
    }
    until_waiting(&gateway, 0).await;
    assert_eq!(log.count(), 1);
}

#[tokio::test]
async fn a_429_that_lasts_longer_than_a_caller_may_wait_is_handed_on() {
    let log = Log::default();
    let (upstream, _) = limiting_once("600", &log).await;
    let gateway = TestGateway::start(upstream.addr).await;
    let (head, body) = fetch(&caller(), request(&gateway, "a")).await;
    assert_eq!((head.status(), body.as_ref()), (StatusCode::TOO_MANY_REQUESTS, b"not now".as_slice()));
    assert!(head.headers()["evergrant-verdict"].to_str().unwrap().starts_with("rate_limited; certain; "));
    // The next one is not even sent.
    let (head, _) = fetch(&caller(), request(&gateway, "b")).await;
    assert_eq!((head.status(), log.count()), (StatusCode::TOO_MANY_REQUESTS, 1));
}
