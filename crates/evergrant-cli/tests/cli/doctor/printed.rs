//! The words and the page of a doctor's report.

use super::*;

#[test]
fn words_put_the_fault_first_and_say_what_to_do() {
    let provider = genesys();
    let run = evergrant(["doctor", "--propagation", "0ms"]).env("EVERGRANT_PROVIDER", "genesys").client_of(&provider);
    let ended = run.env("EVERGRANT_CLIENT_SECRET", "not-the-secret").end();
    assert_eq!(ended.code(), FOUND, "{}", ended.shown());
    assert!(ended.stdout.starts_with("fault   token request\n"), "{}", ended.stdout);
    assert!(ended.stdout.contains("cause: client_rejected ("), "{}", ended.stdout);
    assert!(ended.stdout.contains("do: check the client id and secret"), "{}", ended.stdout);
    assert!(ended.stdout.ends_with("one token was requested, nothing was changed\n"), "{}", ended.stdout);
    assert_eq!(ended.stderr, "", "nothing moves in a pipe");
}

#[test]
fn a_page_is_written_whole_and_holds_no_secret() {
    let provider = genesys();
    let folder = Folder::new();
    let path = folder.path().join("report.html");
    let run = evergrant(
        ["doctor", "--propagation", "200ms", "--html"]
            .map(str::to_owned)
            .into_iter()
            .chain([path.to_str().unwrap().to_owned()]),
    );
    run.env("EVERGRANT_PROVIDER", "genesys").client_of(&provider).end().good();
    let page = std::fs::read_to_string(&path).unwrap();
    assert!(page.starts_with("<!doctype html>") && page.trim_end().ends_with("</html>"));
    for secret in provider.handle().secrets() {
        assert!(!page.contains(secret.expose()), "a secret is in the page");
    }
    for fetching in ["<script", "<link rel=\"stylesheet", "url(", "src=", "@import", "http-equiv=\"refresh"] {
        assert!(!page.contains(fetching), "{fetching} is in the page");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left beside it");
}

#[test]
fn a_page_that_cannot_be_written_is_told_before_anything_is_asked() {
    let provider = genesys();
    let ended = evergrant(["doctor", "--html", "/no/such/folder/report.html"])
        .env("EVERGRANT_PROVIDER", "genesys")
        .client_of(&provider)
        .end();
    let said = ended.failed(1);
    assert!(said.contains("cannot write the report") && said.contains("its folder does not exist"), "{said}");
    assert_eq!(provider.handle().ledger().token.requests, 0);
}
