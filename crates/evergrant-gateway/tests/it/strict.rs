//! A reader of HTTP/1.1 messages that forgives nothing.
//!
//! It is the judge of what the gateway sends: short enough to believe, slow, and without a line in common with the
//! parsers that the gateway uses. What this reader takes for one message, every server takes for the same one message;
//! where servers differ it says that the message is bad. Source: RFC 9112 sections 2 to 7.

/// One message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// The request line or the status line.
    pub(crate) line: String,
    /// Names in lower case.
    pub(crate) fields: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
}

impl Message {
    pub(crate) fn values(&self, name: &str) -> Vec<&[u8]> {
        self.fields.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_slice()).collect()
    }

    /// The second word of the first line: a target or a status.
    pub(crate) fn second_word(&self) -> &str {
        self.line.split(' ').nth(1).unwrap_or_default()
    }
}

/// What bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Read {
    /// They begin with a message of this length.
    Whole(Message, usize),
    /// They are the beginning of one, whose head is here if it is whole.
    Part(Option<Message>),
    /// They are none, or none that everybody reads alike.
    Bad(String),
}

/// Reads a request.
pub(crate) fn request(bytes: &[u8]) -> Read {
    read(bytes, |message| {
        let words: Vec<&str> = message.line.split(' ').collect();
        let [method, target, "HTTP/1.1"] = words[..] else { return Err("no request line".to_owned()) };
        if method.is_empty() || !method.bytes().all(is_token_byte) {
            return Err("no method".to_owned());
        }
        if !(target.starts_with('/') || (target == "*" && method == "OPTIONS")) {
            return Err("no target of an origin server".to_owned());
        }
        framing(message).map(|framing| framing.unwrap_or(Framing::Length(0)))
    })
}

/// Reads an answer to a request of this method, from a connection that has ended.
pub(crate) fn answer(bytes: &[u8], method: &str) -> Read {
    read(bytes, |message| {
        let status = message.second_word();
        let is_line = message.line.starts_with("HTTP/1.1 ") || message.line.starts_with("HTTP/1.0 ");
        if !is_line || status.len() != 3 || !status.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("no status line".to_owned());
        }
        let framing = framing(message)?.unwrap_or(Framing::Rest);
        let has_none = method == "HEAD" || status.starts_with('1') || ["204", "304"].contains(&status);
        Ok(if has_none { Framing::Length(0) } else { framing })
    })
}

enum Framing {
    Length(usize),
    Chunked,
    /// To the end of the connection.
    Rest,
}

fn read(bytes: &[u8], judge: impl FnOnce(&Message) -> Result<Framing, String>) -> Read {
    let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") else { return Read::Part(None) };
    let (head, after) = (&bytes[..end], &bytes[end + 4..]);
    let (mut message, framing) =
        match head_of(head).and_then(|message| judge(&message).map(|framing| (message, framing))) {
            Ok(read) => read,
            Err(why) => return Read::Bad(format!("{why}: {:?}", String::from_utf8_lossy(head))),
        };
    let body = match framing {
        Framing::Length(length) => after.get(..length).map(|body| (body.to_vec(), length)),
        Framing::Rest => Some((after.to_vec(), after.len())),
        Framing::Chunked => match chunks(after) {
            Ok(body) => body,
            Err(why) => return Read::Bad(format!("{why}: {:?}", String::from_utf8_lossy(after))),
        },
    };
    let Some((body, length)) = body else { return Read::Part(Some(message)) };
    message.body = body;
    Read::Whole(message, end + 4 + length)
}

fn head_of(head: &[u8]) -> Result<Message, String> {
    let mut lines = split(head);
    let line = lines.next().and_then(|line| String::from_utf8(line.to_vec()).ok()).ok_or("no first line")?;
    if line.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        return Err("a control character in the first line".to_owned());
    }
    let fields = lines.map(field).collect::<Result<_, _>>()?;
    Ok(Message { line, fields, body: Vec::new() })
}

fn field(line: &[u8]) -> Result<(String, Vec<u8>), String> {
    let colon = line.iter().position(|byte| *byte == b':').ok_or("a field without a colon")?;
    let (name, value) = (&line[..colon], line[colon + 1..].trim_ascii());
    if name.is_empty() || !name.iter().copied().all(is_token_byte) {
        return Err("a name of a field that is none".to_owned());
    }
    if value.iter().any(|byte| (*byte < b' ' && *byte != b'\t') || *byte == 0x7f) {
        return Err("a control character in a value".to_owned());
    }
    Ok((String::from_utf8_lossy(name).to_ascii_lowercase(), value.to_vec()))
}

/// How the body ends, if the fields say it.
fn framing(message: &Message) -> Result<Option<Framing>, String> {
    match (&message.values("transfer-encoding")[..], &message.values("content-length")[..]) {
        ([], []) => Ok(None),
        ([], [length]) if !length.is_empty() && length.iter().all(u8::is_ascii_digit) => {
            let length = String::from_utf8_lossy(length).parse();
            length
                .map(|length| Some(Framing::Length(length)))
                .map_err(|_too_long| "a length beyond all numbers".to_owned())
        }
        ([coding], []) if coding.eq_ignore_ascii_case(b"chunked") => Ok(Some(Framing::Chunked)),
        (codings, lengths) => Err(format!("{} codings and {} lengths, or odd ones", codings.len(), lengths.len())),
    }
}

/// A chunked body and its length on the wire; nothing if it goes on.
fn chunks(bytes: &[u8]) -> Result<Option<(Vec<u8>, usize)>, String> {
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let Some(line) = line_at(bytes, at)? else { return Ok(None) };
        at += line.len() + 2;
        let digits = line.split(|byte| *byte == b';').next().unwrap_or_default();
        if digits.is_empty() || digits.len() > 15 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err("no size of a chunk".to_owned());
        }
        let size = usize::from_str_radix(&String::from_utf8_lossy(digits), 16).map_err(|error| error.to_string())?;
        if size == 0 {
            break;
        }
        let Some(chunk) = bytes.get(at..at + size) else { return Ok(None) };
        body.extend(chunk);
        at += size;
        match bytes.get(at..at + 2) {
            Some(b"\r\n") => at += 2,
            Some(_) => return Err("a chunk longer than its size".to_owned()),
            None => return Ok(None),
        }
    }
    loop {
        let Some(trailer) = line_at(bytes, at)? else { return Ok(None) };
        at += trailer.len() + 2;
        if trailer.is_empty() {
            return Ok(Some((body, at)));
        }
        field(trailer)?;
    }
}

/// The line that begins here, if it has ended.
fn line_at(bytes: &[u8], at: usize) -> Result<Option<&[u8]>, String> {
    let rest = &bytes[at..];
    let Some(end) = rest.windows(2).position(|window| window == b"\r\n") else { return Ok(None) };
    let line = &rest[..end];
    if line.contains(&b'\n') || line.contains(&b'\r') { Err("half of a line end".to_owned()) } else { Ok(Some(line)) }
}

fn split(mut head: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        (!head.is_empty()).then(|| {
            let end = head.windows(2).position(|window| window == b"\r\n");
            let line = &head[..end.unwrap_or(head.len())];
            head = end.map_or(&[], |end| &head[end + 2..]);
            line
        })
    })
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body_of(bytes: &str) -> Option<String> {
        match request(bytes.as_bytes()) {
            Read::Whole(message, length) if length == bytes.len() => Some(String::from_utf8(message.body).unwrap()),
            Read::Whole(..) | Read::Part(_) | Read::Bad(_) => None,
        }
    }

    #[test]
    fn whole_requests_are_read_to_their_end() {
        assert_eq!(body_of("GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap(), "");
        assert_eq!(body_of("POST /x HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc").unwrap(), "abc");
        let chunked = "POST /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(body_of(&format!("{chunked}3\r\nabc\r\n2;x\r\nde\r\n0\r\nX: y\r\n\r\n")).unwrap(), "abcde");
        let two = "GET / HTTP/1.1\r\n\r\nGET /b HTTP/1.1\r\n\r\n";
        assert!(matches!(request(two.as_bytes()), Read::Whole(message, 18) if message.second_word() == "/"));
    }

    #[test]
    fn beginnings_are_parts() {
        for text in ["", "GET / HTTP/1.1\r\n", "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nab"] {
            assert!(matches!(request(text.as_bytes()), Read::Part(_)), "{text:?}");
        }
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for text in ["", "3", "3\r\nab", "3\r\nabc\r\n", "3\r\nabc\r\n0\r\n", "0\r\nX: y\r\n"] {
            assert!(matches!(request(format!("{chunked}{text}").as_bytes()), Read::Part(_)), "{text:?}");
        }
    }

    #[test]
    fn what_servers_read_differently_is_bad() {
        for head in [
            "GET http://x/ HTTP/1.1",
            "GET / HTTP/1.0",
            "GET  / HTTP/1.1",
            "GET /\r\nX HTTP/1.1",
            "GET / HTTP/1.1\nX: y",
            "GET / HTTP/1.1\r\nX : y",
            "GET / HTTP/1.1\r\n X: y",
            "GET / HTTP/1.1\r\nX: a\rb",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3",
            "POST / HTTP/1.1\r\nContent-Length: +3",
            "POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
            "POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked",
        ] {
            assert!(matches!(request(format!("{head}\r\n\r\n").as_bytes()), Read::Bad(_)), "{head:?}");
        }
        let chunked = "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
        for text in ["\r\n", "x\r\n", "3\r\nabcd\r\n", "-1\r\n", "1\na\r\n", "0\r\nX\r\n"] {
            assert!(matches!(request(format!("{chunked}{text}").as_bytes()), Read::Bad(_)), "{text:?}");
        }
    }

    #[test]
    fn an_answer_ends_where_its_status_and_method_say() {
        let end = |text: &str, method| match answer(text.as_bytes(), method) {
            Read::Whole(_, length) => Some(length),
            Read::Part(_) | Read::Bad(_) => None,
        };
        assert_eq!(end("HTTP/1.1 200 OK\r\n\r\nabc", "GET"), Some(22));
        assert_eq!(end("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n", "HEAD"), Some(38));
        assert_eq!(end("HTTP/1.1 204 No\r\n\r\nabc", "GET"), Some(19));
        assert_eq!(end("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", "GET"), None);
        assert_eq!(end("HTTP/1.1 2000 OK\r\n\r\n", "GET"), None);
    }
}
