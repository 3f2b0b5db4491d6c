//! Clocks of simulated servers, measured over real sockets.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::time::Duration;

use evergrant::clock;
use evergrant::core::Secret;
use evergrant::core::offset::{ProbeGoal, Source};
use evergrant::core::time::{Now, Span};
use evergrant::core::wire::NTP_PACKET;
use evergrant::offset::{Meter, Picture, Place, PlaceFailureKind, Quality, Remark, SourcePicture};
use evergrant::tls::Tls;
use evergrant::transport::TransportOptions;
use evergrant_sim::config::DateHeader;
use evergrant_sim::{ProviderConfig, SimServer};

const AT_MOST: Duration = Duration::from_secs(20);

fn options() -> TransportOptions {
    TransportOptions { timeout: Duration::from_secs(5), allow_insecure_http: false }
}

fn api(url: &str) -> Place {
    Place::api(url, &Tls::default(), options()).unwrap()
}

async fn measured(places: impl IntoIterator<Item = Place>, goal: ProbeGoal) -> Picture {
    let mut meter = Meter::default();
    places.into_iter().for_each(|place| meter.add(place));
    meter.measure(goal, AT_MOST).await;
    meter.picture()
}

fn only(picture: &Picture) -> &SourcePicture {
    assert_eq!(picture.sources.len(), 1, "{picture:?}");
    &picture.sources[0]
}

fn is_inside(picture: &SourcePicture, secs: f64) -> bool {
    let skew = picture.skew.unwrap_or_else(|| panic!("{picture:?}"));
    skew.lo.as_secs_f64() <= secs && secs <= skew.hi.as_secs_f64()
}

#[tokio::test]
async fn dates_of_both_hosts_and_milliseconds_hold_the_truth() {
    let config = ProviderConfig::genesys().with_offset(Span::from_millis(7_300));
    let sim = SimServer::start_split(config).unwrap();
    let token = {
        let source = crate::support::builder(&sim).build().unwrap();
        Secret::from(source.token().await.unwrap().expose())
    };
    let date = format!("{}/api/v2/date", sim.url());
    let places = [
        Place::auth(&sim.token_url(), &Tls::default(), options()).unwrap(),
        api(&sim.url()),
        Place::ms_endpoint(&date, token, &Tls::default(), options()).unwrap(),
    ];
    let picture = measured(places, ProbeGoal::THOROUGH).await;
    for picture in &picture.sources {
        assert!(is_inside(picture, -7.3) && picture.quality == Quality::Settled, "{picture:?}");
        assert!(picture.asked <= 12, "{picture:?}");
    }
    assert_eq!(picture.best().map(|best| best.source), Some(Source::MsEndpoint));
    let width = |source: Source| {
        let skew = picture.sources.iter().find(|picture| picture.source == source).unwrap().skew.unwrap();
        skew.hi - skew.lo
    };
    assert!(width(Source::MsEndpoint) < Span::from_millis(250), "{:?}", width(Source::MsEndpoint));
    for source in [Source::ApiDate, Source::AuthDate] {
        assert!(width(source) < Span::from_millis(1_400), "{source}: {:?}", width(source));
    }
    assert_eq!(picture.disagreements().len(), 0);
    assert!(picture.words().contains("SLOW") && picture.words().contains(&sim.addr().to_string()));
}

#[tokio::test]
async fn a_quick_look_takes_few_questions() {
    let sim = SimServer::start(ProviderConfig::rfc().with_offset(Span::from_secs(-600))).unwrap();
    let picture = measured([api(&sim.url())], ProbeGoal::QUICK).await;
    assert!(is_inside(only(&picture), 600.0) && only(&picture).asked <= 4, "{picture:?}");
    assert!(picture.words().contains("FAST"), "{}", picture.words());
}

#[tokio::test]
async fn a_date_that_stands_still_comes_from_a_cache_or_is_missing_is_no_clock() {
    for (date, words) in [
        (DateHeader::Frozen, "stands still"),
        (DateHeader::Cached { age_secs: 30 }, "cache"),
        (DateHeader::Absent, "sends no Date"),
    ] {
        let sim = SimServer::start(ProviderConfig { date, ..ProviderConfig::rfc() }).unwrap();
        let picture = measured([api(&sim.url())], ProbeGoal::THOROUGH).await;
        let only = only(&picture);
        assert!(only.skew.is_none(), "{date:?}: {only:?}");
        assert!(only.note().unwrap().contains(words), "{date:?}: {:?}", only.note());
        let expected = if date == DateHeader::Absent { Quality::Unknown } else { Quality::Disturbed };
        assert_eq!(picture.quality(), expected, "{date:?}");
        assert!(picture.words().starts_with("unknown"), "{}", picture.words());
    }
}

#[tokio::test]
async fn whoever_does_not_answer_is_named() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let picture = measured([api(&format!("http://{address}"))], ProbeGoal::THOROUGH).await;
    let failure = only(&picture).failure.clone().unwrap();
    assert_eq!(failure.kind, PlaceFailureKind::Unreachable);
    assert!(failure.text.contains(&format!("refused by {address}")), "{failure}");
    assert_eq!((picture.quality(), picture.words()), (Quality::Unknown, "unknown".to_owned()));
}

/// Answers every request on every connection with what `answer` makes of its head, until the test ends.
fn http_server(answer: impl Fn(&str) -> String + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let (mut stream, answer) = (stream.unwrap(), answer.clone());
            std::thread::spawn(move || {
                let mut head = Vec::new();
                let mut byte = [0];
                while stream.read(&mut byte).is_ok_and(|read| read == 1) {
                    head.push(byte[0]);
                    if head.ends_with(b"\r\n\r\n") {
                        let said = answer(&String::from_utf8_lossy(&head));
                        head.clear();
                        if said.is_empty() || stream.write_all(said.as_bytes()).is_err() {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

const DATE: &str = "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\nContent-Length: 0\r\n\r\n";

#[tokio::test]
async fn a_redirect_to_another_host_bounds_nothing_from_above() {
    let address = http_server(|_| format!("HTTP/1.1 302 Found\r\nLocation: https://elsewhere.example/x?y\r\n{DATE}"));
    let picture = measured([api(&format!("http://{address}"))], ProbeGoal::THOROUGH).await;
    let only = only(&picture);
    assert_eq!(only.remark, Some(Remark::Redirects("https://elsewhere.example".to_owned())));
    assert!(only.skew.is_none() && only.at_most.is_some(), "{only:?}");
}

#[tokio::test]
async fn a_server_that_cannot_answer_head_is_asked_with_get() {
    for head in ["", "HTTP/1.1 405 No\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
        let address = http_server(move |request| {
            if request.starts_with("HEAD") {
                return head.to_owned();
            }
            assert!(request.starts_with("GET /x?a=b&evergrant-clock="), "{request}");
            let now = httpdate_now();
            format!("HTTP/1.1 200 OK\r\nDate: {now}\r\nContent-Length: 2\r\n\r\nok")
        });
        let picture = measured([api(&format!("http://{address}/x?a=b"))], ProbeGoal::QUICK).await;
        assert!(is_inside(only(&picture), 0.0), "{head:?}: {picture:?}");
    }
}

/// This machine's time as a `Date`.
fn httpdate_now() -> String {
    let Now { wall, .. } = clock::now();
    evergrant_sim::clock::http_date(evergrant::core::time::Server::from_nanos(wall.as_nanos()))
}

/// An NTP server that answers each request with what `answer` makes of a good answer; nothing if that is empty.
fn ntp_server(ahead: Span, answer: impl Fn([u8; NTP_PACKET]) -> Vec<u8> + Send + 'static) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut request = [0; 100];
        while let Ok((length, from)) = socket.recv_from(&mut request) {
            let shown = clock::now().wall + ahead;
            let secs = u64::try_from(shown.as_nanos() / 1_000_000_000 + 2_208_988_800).unwrap();
            let fraction = (u64::try_from(shown.as_nanos() % 1_000_000_000).unwrap() << 32) / 1_000_000_000;
            let mut packet = [0; NTP_PACKET];
            packet[..4].copy_from_slice(&[0x24, 2, 6, 0xe8]);
            packet[24..32].copy_from_slice(&request[40..length.min(48)]);
            for at in [32, 40] {
                packet[at..at + 8].copy_from_slice(&(secs << 32 | fraction).to_be_bytes());
            }
            let packet = answer(packet);
            if !packet.is_empty() {
                socket.send_to(&packet, from).unwrap();
            }
        }
    });
    address
}

#[tokio::test]
async fn an_ntp_server_is_measured_to_the_millisecond() {
    let address = ntp_server(Span::from_millis(-41_270), |packet| packet.to_vec());
    let picture = measured([Place::ntp(&address.to_string()).unwrap()], ProbeGoal::THOROUGH).await;
    let only = only(&picture);
    assert!(is_inside(only, 41.27), "{only:?}");
    let skew = only.skew.unwrap();
    assert!(skew.hi - skew.lo < Span::from_millis(60), "{:?}", skew.hi - skew.lo);
    assert!(only.note().unwrap().contains("stratum 2"), "{:?}", only.note());
}

#[tokio::test]
async fn an_ntp_server_that_gives_no_time_is_named_with_its_reason() {
    type Change = fn([u8; NTP_PACKET]) -> Vec<u8>;
    let cases: [(Change, &str); 6] = [
        (|_| b"junk".to_vec(), "4 bytes that are no NTP packet"),
        (|_| Vec::new(), "no answer from"),
        (
            |mut packet| {
                packet[24] ^= 1;
                packet.to_vec()
            },
            "another request than ours",
        ),
        (
            |mut packet| {
                packet[1] = 0;
                packet[12..16].copy_from_slice(b"RATE");
                packet.to_vec()
            },
            "kiss code RATE",
        ),
        (
            |mut packet| {
                packet[1] = 16;
                packet.to_vec()
            },
            "stratum 16",
        ),
        (
            |mut packet| {
                packet[39] ^= 0;
                packet[40..44].fill(0xff);
                packet.to_vec()
            },
            "claims to have kept the request",
        ),
    ];
    for (change, words) in cases {
        let address = ntp_server(Span::ZERO, change);
        let mut meter = Meter::default();
        meter.add(Place::ntp(&address.to_string()).unwrap());
        meter.measure(ProbeGoal { probes: 1, checks: 0 }, AT_MOST).await;
        let picture = meter.picture();
        let failure = only(&picture).failure.clone().unwrap();
        assert!(failure.text.contains(words) && failure.text.contains(&address.to_string()), "{words}: {failure}");
        assert!(only(&picture).skew.is_none());
    }
}

#[tokio::test]
async fn a_watch_tells_of_a_step_of_the_server() {
    let sim = SimServer::start(ProviderConfig::rfc()).unwrap();
    let mut meter = Meter::default();
    meter.add(api(&sim.url()));
    meter.watch(Span::from_millis(100));
    let mut told = Vec::new();
    let mut has_stepped = false;
    let deadline = clock::boot() + Span::from_secs(30);
    while !told.contains(&"server_step") {
        assert!(clock::boot() < deadline, "{told:?}");
        tokio::time::sleep(Duration::from_millis(50)).await;
        meter.look_at_local_clock();
        told.extend(meter.take_events().iter().map(|(_, event)| event.name()));
        if !has_stepped && only(&meter.picture()).quality == Quality::Settled {
            sim.handle().apply(evergrant_sim::Event::StepServer(Span::from_secs(40)));
            has_stepped = true;
        }
    }
    assert!(told.contains(&"disturbed"), "{told:?}");
    assert!(is_inside(only(&meter.picture()), -40.0));
}
