//! What holds for every capture: any pieces give the same, nothing panics, no secret comes out.

use proptest::prelude::*;

use super::*;

fn explain_in(pieces: impl Iterator<Item = Vec<u8>>) -> Result<Explanation, Unreadable> {
    let mut explainer = Explainer::new();
    pieces.for_each(|piece| explainer.push(&piece));
    explainer.end(&Hints::default())
}

fn explain(bytes: &[u8]) -> Result<Explanation, Unreadable> {
    explain_in(std::iter::once(bytes.to_vec()))
}

const TOKEN: &str = "s3cr3tTOKENs3cr3tTOKENs3cr3t";

/// One capture of each kind, with a token wherever one can stand.
fn captures() -> Vec<String> {
    let body =
        format!(r#"{{"message":"no such token: {TOKEN}","code":"bad.credentials","status":401,"contextId":"c-1"}}"#);
    let minted = format!(r#"{{"access_token":"{TOKEN}","refresh_token":"r-{TOKEN}","expires_in":60}}"#);
    let request = format!(
        "GET /api/v2/users/me?access_token={TOKEN} HTTP/1.1\r\nHost: api.mypurecloud.de\r\nAuthorization: Bearer {TOKEN}\r\nCookie: sid={TOKEN}\r\n"
    );
    let answer = format!(
        "HTTP/1.1 401 Unauthorized\r\nDate: Sat, 28 Nov 2026 22:43:10 GMT\r\nWWW-Authenticate: Bearer error=\"invalid_token\", error_description=\"{TOKEN} is unknown\"\r\nContent-Length: {}\r\n",
        body.len()
    );
    let marked = |mark: &str, text: &str| text.lines().map(|line| format!("{mark} {line}\n")).collect::<String>();
    let text = |text: &str| serde_json::to_string(text).unwrap();
    vec![
        format!("{request}\r\n{answer}\r\n{body}HTTP/1.1 200 OK\r\n\r\n{minted}"),
        format!(
            "* Connected\n{}> \n{}< \n{body}* Connection #0 to host left intact\n",
            marked(">", &request),
            marked("<", &answer)
        ),
        format!(
            r#"{{"log":{{"creator":{{"name":"x"}},"entries":[{{"startedDateTime":"2026-11-28T22:43:29.377Z","time":14.8,"request":{{"method":"GET","url":"https://{TOKEN}@api.mypurecloud.de/x?t={TOKEN}","headers":[{{"name":"Authorization","value":"Bearer {TOKEN}"}}],"queryString":[{{"name":"t","value":"{TOKEN}"}}],"postData":{{"text":"refresh_token={TOKEN}"}}}},"response":{{"status":401,"headers":[{{"name":"Date","value":"Sat, 28 Nov 2026 22:43:29 GMT"}},{{"name":"Location","value":"https://a.example/?t={TOKEN}"}}],"content":{{"text":{}}}}}}},{{"request":{{"method":"POST","url":"https://login.mypurecloud.de/oauth/token"}},"response":{{"status":200,"content":{{"text":{}}}}}}}]}}}}"#,
            text(&body),
            text(&minted)
        ),
        format!(
            "Traceback\nApiException: (401)\nReason: Unauthorized\nHTTP response headers: HTTPHeaderDict({{'Date': 'x', 'Set-Cookie': 'a={TOKEN}'}})\nHTTP response body: {body}\n"
        ),
        format!(
            "AxiosError: Request failed with status code 401\n at x {{\n config: {{ headers: Object [AxiosHeaders] {{ Authorization: 'Bearer {TOKEN}' }}, url: 'https://a.example/?t={TOKEN}' }},\n request: {{ _header: 'Authorization: Bearer {TOKEN}' }},\n response: {{ status: 401, data: {body} }}\n}}\n"
        ),
        body,
        format!(
            "requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://api.example.org/v1/things?t={TOKEN}"
        ),
    ]
}

#[test]
fn every_kind_of_capture_has_its_verdict_and_no_secret() {
    for capture in captures() {
        let explanation = explain(capture.as_bytes()).unwrap();
        assert!(!explanation.verdicts.is_empty(), "{capture}");
        let shown = format!("{explanation:?}");
        assert!(!shown.contains("s3cr3t"), "{capture}\n{shown}");
    }
}

#[test]
fn byte_by_byte_is_the_same_as_at_once() {
    for capture in captures() {
        let bytes = capture.as_bytes();
        assert_eq!(explain(bytes), explain_in(bytes.iter().map(|byte| vec![*byte])), "{capture}");
    }
}

#[test]
fn every_beginning_of_a_capture_can_be_explained() {
    for capture in captures() {
        for cut in 0..capture.len() {
            let found = explain(&capture.as_bytes()[..cut]);
            assert!(!format!("{found:?}").contains("s3cr3t"), "{capture} cut at {cut}: {found:?}");
        }
    }
}

#[test]
fn what_holds_no_http_says_why() {
    for (bytes, why) in [
        (&b""[..], Unreadable::Empty),
        (b"\x1f\x8b\x08", Unreadable::Compressed("gzip")),
        (b"\x7fELF\x00\x01\x02", Unreadable::Binary),
        (b"\"s3cr3tTOKENs3cr3t\nTOKENs3cr3t\"\n", Unreadable::Token),
        (b"the answer is 42", Unreadable::NoHttp),
        (b"{\"a\": {\"b\": 1}}", Unreadable::NoHttp),
        (
            b"> GET / HTTP/1.1\n> Host: a\n> \n* closing\ncurl: (52) Empty reply from server",
            Unreadable::NoAnswer(Some(52)),
        ),
        (b"GET / HTTP/1.1\nHost: a\n\n", Unreadable::NoAnswer(None)),
        (b"{\"log\":{\"entries\":[{\"request\":{}}", Unreadable::NoAnswerInArchive(1, true)),
        (b"{\"log\":{\"entries\":[]}}", Unreadable::NoAnswerInArchive(0, false)),
    ] {
        assert_eq!(explain(bytes), Err(why), "{}", String::from_utf8_lossy(bytes));
    }
}

#[test]
fn a_capture_in_which_nothing_failed_has_no_verdict() {
    let explanation = explain(b"HTTP/1.1 200 OK\r\n\r\n{}").unwrap();
    assert_eq!((explanation.exchanges, explanation.verdicts.len()), (1, 0));
    assert!(explanation.notes.iter().any(|note| note.contains("no answer has a Date")));
}

proptest! {
    #[test]
    fn a_capture_with_something_odd_in_it_is_read_alike_in_all_pieces(
        kind in 0_usize..7,
        at in 0_usize..2000,
        odd in prop::collection::vec(any::<u8>(), 0..12),
        cut in 0_usize..2000,
    ) {
        let mut bytes = captures().swap_remove(kind).into_bytes();
        let at = at.min(bytes.len());
        bytes.splice(at..at, odd);
        let whole = explain(&bytes);
        let (left, right) = bytes.split_at(cut.min(bytes.len()));
        prop_assert_eq!(&whole, &explain_in([left.to_vec(), right.to_vec()].into_iter()));
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
        let _ = explain(&bytes);
    }

    #[test]
    fn arbitrary_text_made_of_what_matters_never_panics(
        words in prop::collection::vec("(HTTP/1.1 401 x|> GET / HTTP/1.1|< HTTP/2 401|> |< |\\* |\\{|\\}|\"log\":|\"entries\":\\[|'|\"|\\(401\\)|status: 401|Authorization: Bearer |\n|\r\n|\n\n|[a-z0-9]{0,9})", 0..40),
    ) {
        let text = words.concat();
        let whole = explain(text.as_bytes());
        prop_assert_eq!(whole, explain_in(text.bytes().map(|byte| vec![byte])));
    }
}
