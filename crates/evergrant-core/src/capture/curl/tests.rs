use super::*;
use crate::capture::credential::Credential;
use crate::wire::TokenDefect;

fn read(text: &str) -> Vec<Exchange> {
    let (mut log, mut out) = (CurlLog::default(), Vec::new());
    log.push(text.as_bytes(), &mut out);
    log.end(&mut out);
    out
}

fn code(exchange: &Exchange) -> Option<&str> {
    exchange.refusal.as_ref().and_then(|refusal| refusal.error_code.as_deref())
}

const HEAD: &str = "> GET /api/v2/users/me HTTP/1.1\r\n> Host: api.mypurecloud.de\r\n> Authorization: Bearer s3cr3t-s3cr3t\r\n> \r\n< HTTP/1.1 401 Unauthorized\r\n< Date: Sat, 28 Nov 2026 22:43:11 GMT\r\n< \r\n";

#[test]
fn a_body_is_found_wherever_the_two_outputs_put_it() {
    let body = r#"{"code":"bad.credentials"}"#;
    for text in [
        format!("* Connected\n{HEAD}{{ [26 bytes data]\n* Connection #0 to host left intact\n{body}"),
        format!("{HEAD}{body}* Connection #0 to host left intact\n"),
        format!("{HEAD}* Connection #0 to host left intact\nHTTP/1.1 401 Unauthorized\r\nDate: x\r\n\r\n{body}"),
        format!("\r  0     0    0     0    0     0      0      0 --:--:--  0:00:01 --:--:--     0{HEAD}{body}"),
    ] {
        let [exchange] = &read(&text)[..] else { panic!("{text}") };
        assert_eq!((exchange.status, code(exchange)), (401, Some("bad.credentials")), "{text}");
        assert_eq!(exchange.route.as_ref().unwrap().to_string(), "GET /api/v2/users/me");
        assert_eq!(exchange.credential.token().unwrap().shape.length, 13);
    }
}

#[test]
fn the_progress_of_the_next_transfer_is_no_part_of_a_body() {
    let minted = r#"{"access_token": "s3cr3t-s3cr3t", "expires_in": 60}"#;
    let text = format!(
        "> POST /oauth/token HTTP/1.1\n> Host: a\n> \n< HTTP/1.1 200 OK\n< \n{minted}\n  % Total    % Received % Xferd\n    Dload  Upload\n{HEAD}"
    );
    let found = read(&text);
    assert!(found[0].mint.as_ref().unwrap().outcome.is_ok());
    assert_eq!(found[1].status, 401);
}

#[test]
fn redirects_and_http_2_are_several_exchanges() {
    let text = "> GET /a HTTP/2\n> Host: a.example\n> \n< HTTP/2 302 \n< location: https://b.example/x\n< \n* Issue another request to this URL\n> GET /x HTTP/2\n> Host: b.example\n> \n< HTTP/2 401 \n< \n";
    let found = read(text);
    assert_eq!(found.iter().map(|exchange| exchange.status).collect::<Vec<_>>(), [302, 401]);
    assert_eq!(found[0].redirects_to.as_deref(), Some("b.example"));
    assert_eq!((found[1].host(), &found[1].credential), (Some("b.example"), &Credential::Nothing));
}

#[test]
fn a_proxy_that_refuses_a_tunnel_is_an_exchange() {
    let text = "> CONNECT api.mypurecloud.de:443 HTTP/1.1\n> Host: api.mypurecloud.de:443\n> \n< HTTP/1.1 407 Proxy Authentication Required\n< Proxy-Authenticate: Basic\n< \ncurl: (56) CONNECT tunnel failed, response 407\n";
    let [exchange] = &read(text)[..] else { panic!() };
    assert_eq!((exchange.status, exchange.host()), (407, Some("api.mypurecloud.de")));
}

#[test]
fn a_token_with_a_line_break_is_seen_as_such() {
    let text = HEAD.replace("s3cr3t-s3cr3t", "s3cr3t\ns3cr3t");
    let found = read(&text);
    assert!(found[0].credential.token().unwrap().shape.defects.contains(&TokenDefect::LineBreak));
}

#[test]
fn times_of_day_get_their_date_from_the_server() {
    // A machine two hours east of Greenwich whose clock is 4 s slow.
    let stamped: String = HEAD.lines().map(|line| format!("00:43:07.250000 {line}\n")).collect();
    let mut log = CurlLog::default();
    let mut out = Vec::new();
    log.push(stamped.as_bytes(), &mut out);
    log.end(&mut out);
    assert!(log.has_times());
    let (date, received) = (out[0].date.unwrap(), out[0].received.unwrap());
    assert_eq!(received.as_nanos() - date.as_nanos(), -3_750_000_000);
    assert_eq!(out[0].sent, out[0].received);
}

#[test]
fn midnight_does_not_take_the_log_back() {
    let mut clock = DayClock::default();
    let at = |clock: &mut DayClock, text| clock.read(time_of_day(text)).unwrap();
    let before = at(&mut clock, "23:59:59.500000");
    assert_eq!(at(&mut clock, "00:00:00.500000") - before, Span::from_secs(1));
    assert_eq!(time_of_day("22:43:11,854344"), None);
    assert_eq!(time_of_day("22:43:1x.854344"), None);
}

#[test]
fn a_run_of_curl_whose_seconds_are_one_behind_does_not_come_before_the_one_above_it() {
    let mut clock = DayClock::default();
    let mut at = |text| clock.read(time_of_day(text)).unwrap();
    let first = at("12:38:38.987804");
    assert_eq!(at("12:38:38.006243") - first, Span::from_micros(18_439));
    assert_eq!(at("12:38:38.024743") - first, Span::from_micros(36_939));
    assert_eq!(at("12:38:39.500000") - first, Span::from_micros(512_196));
    let midnight = at("00:00:00.200000");
    assert_eq!(at("23:59:59.350000") - midnight, Span::from_millis(150));
    assert_eq!(at("00:00:01.200000") - midnight, SECOND);
    let first = at("12:38:39.500000");
    let set_back = at("12:38:20.000000");
    assert!(set_back < first, "a clock that is set back is no such thing");
}

#[test]
fn a_log_without_an_answer_says_with_which_number_curl_gave_up() {
    let mut log = CurlLog::default();
    let mut out = Vec::new();
    log.push(b"> GET / HTTP/1.1\n> Host: a\n> \ncurl: (52) Empty reply from server\n", &mut out);
    log.end(&mut out);
    assert_eq!((out.len(), log.gave_up()), (0, Some(52)));
}

#[test]
fn stamps_and_numbers_before_a_line_are_dropped() {
    for (line, text) in [
        ("22:43:11.854344 < x", "< x"),
        ("22:43:11.854344 [0-0] < x", "< x"),
        ("[1-x] * y", "* y"),
        ("[\"a\"] y", "[\"a\"] y"),
        ("< x", "< x"),
    ] {
        assert_eq!(without_stamp(line).1, text);
    }
}
