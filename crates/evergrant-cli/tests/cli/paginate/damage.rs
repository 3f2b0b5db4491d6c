//! Resume files and outputs that do not fit: each is named, and nothing is lost.

use evergrant_sim::faults::{ApiFault, Event};
use evergrant_sim::http::SimServer;

use super::{NUMBER, all, numbers};
use crate::support::{Ended, Folder, evergrant, provider};

fn run(provider: &SimServer, folder: &Folder, request: &[&str]) -> Ended {
    let args = ["api"].iter().chain(request).chain(&["--paginate", "--resume", "r", "--output", "o"]);
    evergrant(args).client_of(provider).folder(folder).end()
}

fn read(folder: &Folder, name: &str) -> String {
    std::fs::read_to_string(folder.path().join(name)).unwrap()
}

#[test]
fn a_finished_export_says_so_and_more_pages_can_be_had() {
    let (provider, folder) = (provider(), Folder::new());
    run(&provider, &folder, &["GET", NUMBER, "--max-pages", "2"]).good();
    let again = run(&provider, &folder, &["GET", NUMBER, "--max-pages", "2"]);
    assert!(
        again.stderr.contains("has ended already, nothing was requested: 20 items and 2 pages"),
        "{}",
        again.stderr
    );
    run(&provider, &folder, &["GET", NUMBER]).good();
    assert_eq!(numbers(&read(&folder, "o")), all(35));
}

#[test]
fn a_resume_file_serves_no_other_export() {
    let (provider, folder) = (provider(), Folder::new());
    run(&provider, &folder, &["GET", NUMBER, "--max-pages", "2"]).good();
    let other = |request: &[&str]| run(&provider, &folder, request).failed(2);
    insta::assert_snapshot!(other(&["GET", "/api/v2/paged/number?pageSize=9&total=35"]), @r"
    error: the resume file belongs to another export
      in: r
      cause: its query was one with the hash 4bcb63c978b2 and is one with the hash ea9e1a6c11ac
    hint: repeat the command that began it, or start this one with another --resume and --output
    ");
    for (request, differs) in [
        (&["GET", "/api/v2/paged/cursor?pageSize=10&total=35"][..], "its URL was"),
        (&["POST", NUMBER], "its method was `GET` and is `POST`"),
        (&["GET", NUMBER, "--csv"], "its --csv was none"),
        (&["GET", NUMBER, "--items", "entities"], "its --items was none"),
        (&["GET", NUMBER, "--client-id", "other"], "its client id was `sim-client` and is `other`"),
        (&["GET", NUMBER, "--output", "p"], "cannot be used multiple times"),
    ] {
        assert!(other(request).contains(differs), "{request:?}: {}", other(request));
    }
    assert_eq!(numbers(&read(&folder, "o")), all(20), "the output was left alone");
}

#[test]
fn a_damaged_resume_file_is_kept_aside_and_a_foreign_one_left_alone() {
    let (provider, folder) = (provider(), Folder::new());
    run(&provider, &folder, &["GET", NUMBER, "--max-pages", "2"]).good();
    let text = read(&folder, "r");
    folder.file("r", &text[..text.len() / 2]);
    let said = run(&provider, &folder, &["GET", NUMBER]).failed(1);
    assert!(said.contains("the resume file is damaged") && said.contains("r:1:"), "{said}");
    assert_eq!(read(&folder, "r.damaged-1"), text[..text.len() / 2]);
    let said = run(&provider, &folder, &["GET", NUMBER]).failed(2);
    assert!(said.contains("the output holds something already"), "{said}");
    folder.file("r", "my notes");
    let said = run(&provider, &folder, &["GET", NUMBER]).failed(2);
    assert!(said.contains("no resume file of evergrant") && said.contains("left as it is"), "{said}");
    folder.file("r", &text.replacen(":1,", ":2,", 1));
    let said = run(&provider, &folder, &["GET", NUMBER]).failed(2);
    assert!(said.contains("its version is 2, this program writes 1"), "{said}");
    assert_eq!((read(&folder, "r"), numbers(&read(&folder, "o"))), (text.replacen(":1,", ":2,", 1), all(20)));
}

#[test]
fn the_name_of_an_output_that_can_be_resumed_is_made_durable() {
    use rustix::fs::inotify;
    let (provider, folder) = (provider(), Folder::new());
    let items = folder.path().join("items");
    std::fs::create_dir(&items).unwrap();
    let watch = inotify::init(inotify::CreateFlags::NONBLOCK).unwrap();
    inotify::add_watch(&watch, &items, inotify::WatchFlags::OPEN).unwrap();
    let opens_of_the_folder = || {
        let (mut buffer, mut count) = ([std::mem::MaybeUninit::uninit(); 4096], 0);
        let mut events = inotify::Reader::new(&watch, &mut buffer);
        while let Ok(event) = events.next() {
            count += usize::from(event.events().contains(inotify::ReadFlags::ISDIR));
        }
        count
    };
    let run = |output: &str, flags: &[&str]| {
        let args = ["api", "GET", NUMBER, "--paginate", "--output", output];
        evergrant(args.iter().chain(flags)).client_of(&provider).folder(&folder).end().good()
    };
    run("items/a", &["--resume", "r"]);
    assert_eq!(opens_of_the_folder(), 1, "a folder is opened to be synced, once");
    run("items/b", &[]);
    assert_eq!(opens_of_the_folder(), 0);
}

#[test]
fn a_good_output_outlives_an_export_that_brings_no_page() {
    let (provider, folder) = (provider(), Folder::new());
    let export = |path: &str, flags: &[&str]| {
        let args = ["api", "GET", path, "--paginate", "--output", "o"];
        evergrant(args.iter().chain(flags)).client_of(&provider).folder(&folder).end()
    };
    folder.file("o", "yesterday's\n");
    provider.handle().apply(Event::api(ApiFault::MissingPermission));
    export(NUMBER, &[]).failed(9);
    provider.handle().apply(Event::ClearApiFaults);
    export(NUMBER, &["--items", "data.things"]).failed(15);
    export("/api/v2/paged/number?total=5&odd=renamed", &[]).failed(15);
    assert_eq!(read(&folder, "o"), "yesterday's\n");
    export("/api/v2/paged/number?total=0", &[]).good();
    assert_eq!(read(&folder, "o"), "", "an empty collection replaces it");
    folder.file("o", &"yesterday's\n".repeat(10_000));
    export(NUMBER, &["--max-pages", "1"]).good();
    assert_eq!(numbers(&read(&folder, "o")), all(10));
}

#[test]
fn an_export_that_ended_at_empty_pages_goes_on_if_more_are_allowed() {
    let (provider, folder) = (provider(), Folder::new());
    let endless = ["GET", "/api/v2/paged/link?pageSize=10&total=20&odd=endless"];
    assert!(run(&provider, &folder, &endless).stderr.contains("allow more with --max-empty-pages"));
    assert!(run(&provider, &folder, &endless).stderr.contains("has ended already"));
    let calls = || provider.handle().ledger().api.calls;
    let before = calls();
    let more = run(&provider, &folder, &[&endless[..], &["--max-empty-pages", "5"]].concat());
    assert!(more.stderr.contains("names a next page for ever"), "{}", more.stderr);
    assert_eq!(calls() - before, 2, "two more empty pages");
    assert_eq!(numbers(&read(&folder, "o")), all(20));
}

#[test]
fn an_output_that_was_cut_is_not_added_to() {
    let (provider, folder) = (provider(), Folder::new());
    run(&provider, &folder, &["GET", NUMBER, "--max-pages", "2"]).good();
    folder.file("o", "short");
    let said = run(&provider, &folder, &["GET", NUMBER]).failed(1);
    assert!(said.contains("the output is shorter than the resume file says"), "{said}");
    assert_eq!(read(&folder, "o"), "short");
}

#[test]
fn a_resume_file_holds_no_secret_and_is_for_its_owner() {
    use std::os::unix::fs::PermissionsExt as _;
    let (provider, folder) = (provider(), Folder::new());
    let request = ["GET", "/api/v2/paged/number?pageSize=10&total=35&key=hunter2", "--max-pages", "2"];
    run(&provider, &folder, &[&request[..], &["-H", "x-key: hunter3"]].concat()).good();
    let text = read(&folder, "r");
    assert!(!text.contains("hunter"), "{text}");
    provider.handle().secrets().iter().for_each(|secret| assert!(!text.contains(secret.expose())));
    let mode = folder.path().join("r").metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn standard_output_that_is_a_file_is_cut_back_and_added_to() {
    let (provider, folder) = (provider(), Folder::new());
    let shell = |line: &str| {
        let line = format!("{} {line}", env!("CARGO_BIN_EXE_evergrant"));
        crate::support::program(&["sh", "-c", &line]).client_of(&provider).folder(&folder).end()
    };
    folder.file("o", "before\n");
    let request = format!("api GET '{NUMBER}' --paginate --resume r");
    shell(&format!("{request} --max-pages 2 >> o")).good();
    let two = read(&folder, "o");
    folder.file("o", &format!("{two}{{\"half of a pa"));
    shell(&format!("{request} >> o")).good();
    assert_eq!(numbers(read(&folder, "o").strip_prefix("before\n").unwrap()), all(35));
    folder.file("r", &read(&folder, "r").replace("\"ended\":\"complete\"", "\"ended\":null"));
    let said = shell(&format!("{request} > o")).failed(1);
    assert!(said.contains("append with >>"), "{said}");
    let said = shell(&format!("{request} | cat")).stderr;
    assert!(said.contains("belongs to another export"), "{said}");
}

#[test]
fn two_exports_never_write_into_one_file() {
    let (provider, folder) = (provider(), Folder::new());
    let output = std::fs::File::create(folder.path().join("o")).unwrap();
    output.lock().unwrap();
    let args = ["api", "GET", NUMBER, "--paginate", "--output", "o"];
    let said = evergrant(args).client_of(&provider).folder(&folder).end().failed(1);
    assert!(said.contains("another process writes into the output"), "{said}");
    let said = evergrant([&args[..], &["--resume", "o"]].concat()).client_of(&provider).folder(&folder).end().failed(2);
    assert!(said.contains("cannot be one file"), "{said}");
}

#[test]
fn one_file_is_known_under_all_its_names() {
    let (provider, folder) = (provider(), Folder::new());
    std::fs::create_dir(folder.path().join("d")).unwrap();
    std::os::unix::fs::symlink("d", folder.path().join("l")).unwrap();
    folder.file("h", "kept");
    std::fs::hard_link(folder.path().join("h"), folder.path().join("i")).unwrap();
    for (output, resume) in
        [("./a", "a"), ("a", "d/../a"), ("a.new", "./a"), ("d/a", "l/a"), ("d/a.new", "l/a"), ("h", "i")]
    {
        let args = ["api", "GET", NUMBER, "--paginate", "--output", output, "--resume", resume];
        let said = evergrant(args).client_of(&provider).folder(&folder).end().failed(2);
        assert!(said.contains("cannot be one file"), "{output} {resume}: {said}");
    }
    assert_eq!(read(&folder, "h"), "kept");
}

#[test]
fn an_output_that_is_no_file_is_written_to_and_never_cut() {
    let (provider, folder) = (provider(), Folder::new());
    let run = |flags: &[&str]| {
        let args = ["api", "GET", NUMBER, "--paginate", "--output", "/dev/null", "--resume", "r"];
        evergrant(args.iter().chain(flags)).client_of(&provider).folder(&folder).end().good()
    };
    run(&["--max-pages", "2"]);
    let summary = run(&["--json"]);
    assert!(summary.contains(r#""items":35"#) && summary.contains(r#""resumed_at_page":2"#), "{summary}");
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let provider = provider();
    let line = format!("{} api GET '{NUMBER}' --paginate | head -n 1", env!("CARGO_BIN_EXE_evergrant"));
    let ended = crate::support::program(&["sh", "-c", &line]).client_of(&provider).end();
    assert_eq!(ended.stderr, "");
    assert_eq!(numbers(&ended.good()), [1]);
}
