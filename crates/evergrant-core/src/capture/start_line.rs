//! The first line of an HTTP message, in every form that logs and captures show it.
//!
//! Source: RFC 9112 sections 3 and 4; `HTTP/2 401` is how tools write a status that HTTP/2 sends without words.

/// A request line: method and target.
pub(super) fn request_line(line: &str) -> Option<(&str, &str)> {
    let (method, rest) = line.split_once(' ')?;
    let (target, version) = rest.trim_end().rsplit_once(' ')?;
    let is_method = (3..=20).contains(&method.len()) && method.bytes().all(|byte| byte.is_ascii_uppercase());
    (is_method && !target.is_empty() && !target.contains(' ') && is_version(version)).then_some((method, target))
}

/// The status of a status line.
pub(super) fn status_line(line: &str) -> Option<u16> {
    let (version, rest) = line.trim_end().split_once(' ')?;
    if !is_version(version) {
        return None;
    }
    let code = rest.trim_start().split(' ').next()?;
    status_code(code)
}

/// Three digits that are a status.
pub(super) fn status_code(text: &str) -> Option<u16> {
    let is_number = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|code| is_number && (100..600).contains(code))
}

fn is_version(text: &str) -> bool {
    text.strip_prefix("HTTP/").is_some_and(|number| matches!(number, "1.0" | "1.1" | "2" | "2.0" | "3" | "3.0"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_lines_of_every_version_are_read() {
        assert_eq!(request_line("GET /api/v2/users?x=y HTTP/1.1"), Some(("GET", "/api/v2/users?x=y")));
        assert_eq!(request_line("CONNECT api.example.org:443 HTTP/1.1"), Some(("CONNECT", "api.example.org:443")));
        for (line, status) in
            [("HTTP/1.1 401 Unauthorized", 401), ("HTTP/2 401 ", 401), ("HTTP/3 429", 429), ("HTTP/1.0 407 X Y", 407)]
        {
            assert_eq!(status_line(line), Some(status), "{line}");
        }
        for line in ["", "HTTP/1.1", "HTTP/1.1 4011", "HTTP/1.1 999", "HTTP/9 200", "GET / HTTP/1.1", "x HTTP/1.1 401"]
        {
            assert_eq!(status_line(line), None, "{line}");
        }
        for line in ["GET /", "get / HTTP/1.1", "We saw GET / HTTP/1.1", "HTTP/1.1 200 OK"] {
            assert_eq!(request_line(line), None, "{line}");
        }
    }
}
