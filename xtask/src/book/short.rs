//! Commands of pages in forms of theirs that end in seconds.
//!
//! A page shows what its reader types: `cargo xtask soak --worlds 100000`, a gateway that goes on, a login that waits for a
//! person. In a sandbox a program of the same name stands in the way, and calls the real one: with smaller numbers, in the
//! background, with somebody who signs in. What has no such form is refused, and the page with it: a page cannot show a
//! command that nothing runs.
//!
//! | shown | what runs |
//! |---|---|
//! | `cargo xtask test` | two of its steps; the others are running around the page |
//! | `cargo xtask soak`, `cargo xtask fuzz` | the same with `--quick` |
//! | `cargo mutants` | its list of the changes that it would make |
//! | `cargo install ... --features otel` | nothing: the tests have built it, and the page's program is that one from here on |
//! | `cargo nextest run ... NAME_OF_THE_SCENE` | a slip that is found, and its schedule once more |
//! | `evergrant gateway` | as in a terminal of its own: the page goes on once it listens, and with it to the end |
//! | `evergrant login` | a real provider and browser, and somebody who signs in there ([`neighbours`](super::neighbours)) |
//! | `evergrant demo`, `simulate --plots`, `clock --watch` | a part of their work |
//! | `evergrant store forget 8f3a91` | with the name of the credential that is in the store |

use std::ffi::OsString;
use std::path::Path;

use super::sandbox::{program, write};
use crate::shell::{self, Failure};

/// The program as most pages have it, below the target folder; and with a feature that is not a default one. Both stand
/// aside from where cargo puts programs: other builds of the tests replace those.
pub(super) const PLAIN: &str = "book/evergrant";
pub(super) const TRACING: &str = "book/evergrant-otel";

/// Puts the stand-ins into a folder that comes first in the page's `PATH`; `state` is what they keep between two commands.
pub(super) fn furnish(bin: &Path, state: &Path) -> Result<(), Failure> {
    let target = shell::target();
    write(&state.join("outside"), &outside(std::env::vars_os()))?;
    let places = [
        ("state", state.to_path_buf()),
        ("root", shell::root()),
        ("plain", target.join(PLAIN)),
        ("tracing", target.join(TRACING)),
        ("python", target.join("test-tools/py/bin/python")),
        ("mutants", target.join("test-tools/mutants/bin")),
        ("pins", shell::root().join("crates/evergrant-py/tests/requirements.txt")),
    ];
    let places: String = places.iter().map(|(name, at)| format!("{name}={}\n", quoted(&at.display()))).collect();
    for (name, script) in [("evergrant", EVERGRANT), ("cargo", CARGO), ("pip", PIP)] {
        program(&bin.join(name), &format!("{places}{script}"))?;
    }
    Ok(())
}

/// How long a command of a page may take, in seconds. Cargo may wait for its lock, and pip for a network.
pub(super) fn patience(script: &str) -> &'static str {
    if script.contains("cargo ") || script.contains("pip ") { "900" } else { "60" }
}

/// Text as a shell takes it, whatever is in it.
pub(super) fn quoted(text: &dyn std::fmt::Display) -> String {
    format!("'{}'", text.to_string().replace('\'', r"'\''"))
}

/// What tools for developers need of this process' environment, as commands that set it. Nothing else of it is written down:
/// a machine that runs tests has secrets there.
fn outside(variables: impl Iterator<Item = (OsString, OsString)>) -> String {
    const NAMES: [&str; 9] = ["PATH", "HOME", "USER", "TMPDIR", "LANG", "CC", "CXX", "SSL_CERT_FILE", "SSL_CERT_DIR"];
    const FAMILIES: [&str; 3] = ["CARGO", "RUST", "PIP_"];
    let is_needed = |name: &str| {
        let is_secret = name.contains("TOKEN") || name.contains("CREDENTIAL");
        let is_ours = NAMES.contains(&name) || FAMILIES.iter().any(|family| name.starts_with(family));
        (is_ours && !is_secret) || name.to_ascii_lowercase().ends_with("_proxy")
    };
    let readable = variables.filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let needed = readable.filter(|(name, _)| is_needed(name));
    needed.map(|(name, value)| format!("export {name}={}\n", quoted(&value))).collect()
}

/// The program as pages call it. A gateway listens on the ports that were found free, and a watch ends as by Ctrl-C.
const EVERGRANT: &str = r#"real=$plain
[ ! -e "$state/tracing" ] || real=$tracing
ports() { [ ! -e "$state/ports" ] || . "$state/ports"; }
case "${1-} $*" in
gateway*--help*) exec "$real" "$@" ;;
gateway*)
    ports
    log=$state/gateway.$$
    "$real" "$@" >"$log" 2>&1 &
    gateway=$!
    for i in $(seq 400); do
        grep -q 'listener="admin"' "$log" && exec cat "$log"
        if ! kill -0 "$gateway" 2>/dev/null; then
            cat "$log" >&2
            wait "$gateway"
            exit
        fi
        sleep 0.05
    done
    cat "$log" >&2
    exit 1
    ;;
login*)
    . "$state/login"
    case "$*" in *--no-browser* | *--device*) ;; *) exec "$real" "$@" ;; esac
    log=$state/login.$$
    "$real" "$@" >"$log" 2>&1 &
    login=$!
    trap 'cat "$log"' EXIT
    for i in $(seq 400); do
        address=$(sed -n 's/^or open \(http.*\)/\1/p; s/^  \(http.*\)/\1/p' "$log" | tail -n 1)
        [ -z "$address" ] || break
        kill -0 "$login" 2>/dev/null || break
        sleep 0.05
    done
    if [ -z "$address" ] || ! xdg-open "$address"; then
        kill "$login" 2>/dev/null
        exit 1
    fi
    code=0
    wait "$login" || code=$?
    exit "$code"
    ;;
store*forget\ 8f3a91*)
    name=$("$real" store list --json | grep -o '"credential": *"[0-9a-f]*"' | grep -o '[0-9a-f]*"$' | tr -d '"' | head -n 1)
    exec "$real" store forget "${name:?no credential is in the store}"
    ;;
explain*--last* | ready*) ports; exec "$real" "$@" ;;
demo*) exec "$real" "$@" --fast ;;
simulate*--plots*) exec "$real" "$@" --strategy evergrant --seed 1 ;;
clock*--watch*) timeout --signal=INT 2 "$real" "$@" || [ $? -eq 124 ] ;;
*) exec "$real" "$@" ;;
esac"#;

/// The project's own tasks, in the project's own folder, without the page's settings.
const CARGO: &str = r#"for name in $(env | sed -n 's/^\(EVERGRANT_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
. "$state/outside"
cd "$root"
case "$*" in
"xtask test") exec cargo xtask test --only fmt --only tidy ;;
"xtask soak --replay "* | "xtask fuzz --list") exec cargo "$@" ;;
"xtask soak"* | "xtask fuzz "*) exec cargo "$@" --quick ;;
"mutants "*)
    PATH=$mutants:$PATH
    exec cargo "$@" --list
    ;;
"install --locked --path crates/evergrant-cli --features otel") test -x "$tracing" && exec touch "$state/tracing" ;;
"nextest run "*" NAME_OF_THE_SCENE")
    for word; do
        shift
        [ "$word" != NAME_OF_THE_SCENE ] || word=what_is_published_later_is_found
        set -- "$@" "$word"
    done
    said=$(cargo "$@" --no-capture 2>&1) || { echo "$said" >&2; exit 1; }
    # The last one that it printed: a task that panics while others unwind has the longer schedule.
    schedule=$(echo "$said" | awk '/^failing schedule:/ { text = ""; marks = 0; next }
        /^"$/ { marks++; next } marks == 1 { text = text $0 } END { print text }')
    echo "the schedule: ${schedule:?no schedule in $said}"
    # One that is none has to fail, or the schedule is not what decides.
    if EVERGRANT_SCHEDULE=91 cargo "$@" >"$state/broken" 2>&1; then
        echo "a schedule that is none is played as well:" "$(cat "$state/broken")" >&2
        exit 1
    fi
    EVERGRANT_SCHEDULE=$schedule exec cargo "$@"
    ;;
*)
    echo "this has no form that ends soon: cargo $*; see xtask/src/book/short.rs" >&2
    exit 64
    ;;
esac"#;

/// Installs from where the tests do, and the versions that they use.
const PIP: &str = r#". "$state/outside"
PIP_CONSTRAINT=$pins exec "$python" -m pip --quiet --disable-pip-version-check "$@""#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_short_form_is_refused() {
        let home = tempfile::tempdir().unwrap();
        furnish(home.path(), home.path()).unwrap();
        let cargo = home.path().join("cargo").display().to_string();
        let refused = shell::capture(&mut shell::command(&cargo, ["publish", "--all"])).unwrap_err().to_string();
        assert!(refused.contains("no form that ends soon: cargo publish --all"), "{refused}");
    }

    #[test]
    fn only_what_cargo_and_pip_do_may_take_long() {
        let seconds = ["evergrant token", "cargo xtask test", "pip install requests"].map(patience);
        assert_eq!(seconds, ["60", "900", "900"]);
    }

    #[test]
    fn secrets_of_the_machine_are_not_written_down() {
        let variables = [
            ("PATH", "/it's/bin"),
            ("CARGO_HOME", "/c"),
            ("https_proxy", "http://p:1"),
            ("CARGO_REGISTRY_TOKEN", "secret"),
            ("GITHUB_TOKEN", "secret"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
        ];
        let variables = variables.into_iter().map(|(name, value)| (name.into(), value.into()));
        let said = outside(variables);
        assert_eq!(said, "export PATH='/it'\\''s/bin'\nexport CARGO_HOME='/c'\nexport https_proxy='http://p:1'\n");
    }
}
