//! `evergrant explain [FILE|-]`: the capture is read as a stream, judged, and forgotten.

use std::fs::File;
use std::io::{IsTerminal as _, Read};
use std::path::Path;

use evergrant_core::capture::{Explainer, Hints, TokenFacts, Unreadable};

use super::{shape, words};
use crate::args::ExplainArgs;
use crate::exit;
use crate::failure::Failure;
use crate::render;

/// Explains a file or standard input.
pub(super) fn run(args: &ExplainArgs) -> Result<u8, Failure> {
    let hints = Hints { token: args.token_file.as_deref().map(read_token).transpose()?, captured_at: args.captured_at };
    let place = args.file.as_deref().filter(|path| *path != Path::new("-"));
    let shown = place.map_or_else(|| "standard input".to_owned(), |path| path.display().to_string());
    let explainer = match place {
        Some(path) => read(File::open(path).map_err(|error| unreadable(&shown, &error))?, &shown)?,
        None => read(stdin(args)?, &shown)?,
    };
    let explanation = explainer.end(&hints).map_err(|why| no_http(why, &shown))?;
    if args.json {
        render::json(&shape::of(&explanation))?;
        return Ok(exit::OK);
    }
    anstream::eprintln!("{}", words::summary(&explanation, &shown));
    render::data(words::of(&explanation).as_bytes())?;
    Ok(exit::OK)
}

fn stdin(args: &ExplainArgs) -> Result<std::io::StdinLock<'static>, Failure> {
    let takes_token = args.token_file.as_deref() == Some(Path::new("-"));
    if takes_token {
        return Err(Failure::new(exit::USAGE, "the token and the capture cannot both come from standard input")
            .at("--token-file -")
            .hint("give the capture as a file"));
    }
    let stdin = std::io::stdin();
    if args.file.is_none() && stdin.is_terminal() {
        return Err(Failure::new(exit::USAGE, "there is nothing to explain")
            .because("no file was given, and standard input is a terminal")
            .hint("give a file: an HTTP answer, a `curl -v` log, a HAR, or the text of an exception")
            .hint("or ask a running gateway with --last"));
    }
    Ok(stdin.lock())
}

fn read(mut from: impl Read, place: &str) -> Result<Explainer, Failure> {
    let mut explainer = Explainer::new();
    let mut buffer = vec![0; BUFFER];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(explainer),
            Ok(length) => explainer.push(&buffer[..length]),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(unreadable(place, &error)),
        }
    }
}

/// The facts of a token in a file: the token alone, or an `Authorization` field's value.
fn read_token(path: &Path) -> Result<TokenFacts, Failure> {
    let is_stdin = path == Path::new("-");
    let place = if is_stdin { "standard input".to_owned() } else { path.display().to_string() };
    let failure = |error: &std::io::Error| {
        Failure::new(exit::USAGE, "cannot read the token")
            .at(&place)
            .because(error)
            .hint("give the file with --token-file")
    };
    let mut text = String::new();
    let from: Box<dyn Read> = if is_stdin {
        Box::new(std::io::stdin())
    } else {
        Box::new(File::open(path).map_err(|error| failure(&error))?)
    };
    from.take(LONGEST_TOKEN).read_to_string(&mut text).map_err(|error| failure(&error))?;
    // The line break that every editor puts at the end of a file is not the token's.
    let token = evergrant::settings::without_line_break(&text);
    let token = token.strip_prefix("Authorization:").map_or(token, str::trim_start);
    let token = token.strip_prefix("Bearer ").unwrap_or(token);
    TokenFacts::of_token(token).ok_or_else(|| {
        Failure::new(exit::USAGE, "there is no token in the file")
            .at(&place)
            .because("what stands there was put in the place of one")
            .hint("leave --token-file out, or give the token as it was sent")
    })
}

fn unreadable(place: &str, error: &std::io::Error) -> Failure {
    Failure::new(exit::USAGE, "cannot read the capture")
        .at(place)
        .because(error)
        .hint("give a file, or - for standard input")
}

/// Why there is nothing to explain, and what would be.
fn no_http(why: Unreadable, place: &str) -> Failure {
    let failure = |what: &str| Failure::new(exit::NO_HTTP, what).at(place);
    let forms = "an HTTP answer with its status line, a `curl -v` log, a HAR, a JSON error or the text of an exception \
                 can be explained";
    match why {
        Unreadable::Empty => failure("the capture is empty").hint(forms),
        Unreadable::Compressed(with) => {
            failure("the capture is compressed").because(format!("it is a {with} file")).hint(if with == "gzip" {
                "unpack it on the way: `gunzip -c FILE | evergrant explain -`"
            } else {
                "unpack it first"
            })
        }
        Unreadable::Binary => failure("the capture is no text")
            .because("it begins with bytes that no log has")
            .hint(forms)
            .hint("a packet capture cannot be read: save what the browser or curl shows instead"),
        Unreadable::Token => failure("there is a token and no HTTP in the capture")
            .because("a token alone does not say why it was refused")
            .hint("give the answer that refused it, and the token with --token-file")
            .hint("a token that stands in a shared file should be ended"),
        Unreadable::NoHttp => failure("there is no HTTP in the capture")
            .because("no status, no request line and no error body was found")
            .hint(forms),
        Unreadable::NoAnswer(gave_up) => {
            let because = match gave_up {
                Some(number) => format!("curl gave up with its error {number} before an answer came"),
                None => "it shows a request and ends before the answer".to_owned(),
            };
            failure("there is no answer in the capture").because(because).hint(
                "without an answer nobody refused anything: look at the connection, or capture until the answer came",
            )
        }
        Unreadable::NoAnswerInArchive(entries, is_torn) => {
            let torn = if is_torn { ", and the file ends in the middle" } else { "" };
            failure("there is no answered request in the HAR")
                .because(format!("it has {entries} whole entries{torn}"))
                .hint("save it again after the request has failed, with the browser's network panel open")
        }
    }
}

const BUFFER: usize = 64 << 10;
const LONGEST_TOKEN: u64 = 64 << 10;
