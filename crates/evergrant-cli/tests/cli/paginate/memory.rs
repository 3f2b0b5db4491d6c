//! Memory does not grow with the number of items.

use std::process::{Command, Stdio};

use evergrant_sim::http::SimServer;

use crate::support::{evergrant, provider};

/// The most memory that an export of so many items had at once, in KiB.
fn peak(provider: &SimServer, total: u64) -> u64 {
    let path = format!("/api/v2/paged/number?pageSize=500&total={total}");
    let (mut running, _home) = evergrant(["api", "GET", &path, "--paginate"]).client_of(provider).start();
    let mut sink = Command::new("wc");
    sink.arg("-l").stdin(running.child().stdout.take().unwrap());
    let sink = sink.stdout(Stdio::piped()).spawn().unwrap();
    let status = format!("/proc/{}/status", running.child().id());
    let mut peak = 0;
    while running.child().try_wait().unwrap().is_none() {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        let now = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse().ok());
        peak = now.unwrap_or(peak);
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    assert!(running.wait().success());
    let counted = String::from_utf8(sink.wait_with_output().unwrap().stdout).unwrap();
    assert_eq!(counted.trim(), total.to_string());
    assert!(peak > 1_000, "{peak} KiB");
    peak
}

/// Of 200,000 items, or of as many as `cargo xtask soak --items` asks for.
#[test]
fn two_hundred_thousand_items_need_no_more_memory_than_ten_thousand() {
    let provider = provider();
    let count = std::env::var("EVERGRANT_SOAK_ITEMS").map_or(200_000, |count| count.parse().unwrap());
    let (few, many) = (peak(&provider, 10_000), peak(&provider, count));
    eprintln!("10000 items: {few} KiB, {count} items: {many} KiB");
    assert!(many < few + 4 * 1024, "{few} KiB for few items, {many} KiB for many");
}
