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
//! | `cargo build --release --features otel` | nothing: the tests have built it, and the page's program is that one from here on |
//! | `cargo nextest run ... NAME_OF_THE_SCENE` | a slip that is found, and its schedule once more |
//! | `evergrant gateway` | in the background, from when it listens to the end of the page |
//! | `evergrant login` | a real provider and browser, and somebody who signs in there ([`neighbours`](super::neighbours)) |
//! | `evergrant demo`, `simulate --plots`, `clock --watch` | a part of their work |
//! | `evergrant store forget 8f3a91` | with the name of the credential that is in the store |

use std::path::Path;

use super::sandbox::program;
use crate::shell::{self, Failure};

/// The program with a feature that is not a default one, beside the one that the other pages use.
pub(super) const TRACING: &str = "book/evergrant-otel";

/// Puts the stand-ins into a folder that comes first in the page's `PATH`; `state` is what they keep between two commands.
pub(super) fn furnish(bin: &Path, state: &Path) -> Result<(), Failure> {
    let target = shell::target();
    let path = |name: &str| target.join(name).display().to_string();
    let fill = |script: &str| {
        script
            .replace("STATE", &state.display().to_string())
            .replace("TRACING", &path(TRACING))
            .replace("REAL", &path("debug/evergrant"))
            .replace("MUTANTS", &path("test-tools/mutants/bin"))
            .replace("ROOT", &shell::root().display().to_string())
            .replace("PYTHON", &path("test-tools/py/bin/python"))
            .replace("OUTSIDE", &outside())
    };
    for (name, script) in [("evergrant", EVERGRANT), ("cargo", CARGO), ("pip", PIP)] {
        program(&bin.join(name), &fill(script))?;
    }
    Ok(())
}

/// How long a command of a page may take, in seconds. What cargo does may wait for cargo's lock.
pub(super) fn patience(script: &str) -> &'static str {
    if script.contains("cargo ") { "900" } else { "60" }
}

/// Commands that set this process' own environment, which tools for developers need and pages do without.
fn outside() -> String {
    let is_name = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    let variables =
        std::env::vars().filter(|(name, _)| is_name(name) && !matches!(name.as_str(), "PWD" | "OLDPWD" | "_"));
    let export = |(name, value): (String, String)| format!("export {name}='{}'\n", value.replace('\'', r"'\''"));
    variables.map(export).collect()
}

/// The program as pages call it. A gateway listens on the ports that were found free, and a watch ends as by Ctrl-C.
const EVERGRANT: &str = r#"real=REAL
[ ! -e STATE/tracing ] || real=TRACING
ports() { [ ! -e STATE/ports ] || . STATE/ports; }
case "${1-} $*" in
gateway*--help*) exec "$real" "$@" ;;
gateway*)
    ports
    log=STATE/gateway.$$
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
    . STATE/login
    case "$*" in *--no-browser* | *--device*) ;; *) exec "$real" "$@" ;; esac
    log=STATE/login.$$
    "$real" "$@" >"$log" 2>&1 &
    login=$!
    for i in $(seq 400); do
        address=$(sed -n 's/^or open \(http.*\)/\1/p; s/^  \(http.*\)/\1/p' "$log" | tail -n 1)
        [ -z "$address" ] || break
        sleep 0.05
    done
    xdg-open "$address"
    code=0
    wait "$login" || code=$?
    cat "$log"
    exit "$code"
    ;;
store*forget\ 8f3a91*)
    name=$("$real" store list --json | grep -o '"credential": *"[0-9a-f]*"' | grep -o '[0-9a-f]*"$' | tr -d '"' | head -n 1)
    exec "$real" store forget "${name:?no credential is in the store}"
    ;;
explain*--last*) ports; exec "$real" "$@" ;;
demo*) exec "$real" "$@" --fast ;;
simulate*--plots*) exec "$real" "$@" --strategy evergrant --seed 1 ;;
clock*--watch*) timeout --signal=INT 2 "$real" "$@" || [ $? -eq 124 ] ;;
*) exec "$real" "$@" ;;
esac"#;

/// The project's own tasks, in the project's own folder, without the page's settings.
const CARGO: &str = r#"for name in $(env | sed -n 's/^\(EVERGRANT_[A-Z_]*\)=.*/\1/p'); do unset "$name"; done
OUTSIDE
cd ROOT
case "$*" in
"xtask test") exec cargo xtask test --only fmt --only tidy ;;
"xtask soak --replay "* | "xtask fuzz --list") exec cargo "$@" ;;
"xtask soak"* | "xtask fuzz "*) exec cargo "$@" --quick ;;
"mutants "*) PATH=MUTANTS:$PATH exec cargo "$@" --list ;;
"build --release --features otel") test -x TRACING && exec touch STATE/tracing ;;
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
    EVERGRANT_SCHEDULE=$schedule exec cargo "$@"
    ;;
*)
    echo "this has no form that ends soon: cargo $*; see xtask/src/book/short.rs" >&2
    exit 64
    ;;
esac"#;

/// Installs from where the tests do.
const PIP: &str = r#"OUTSIDE
exec PYTHON -m pip --quiet --disable-pip-version-check "$@""#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_short_form_is_refused() {
        let home = std::env::temp_dir().join(format!("evergrant-xtask-short-{}", std::process::id()));
        std::fs::create_dir_all(&home).unwrap();
        furnish(&home, &home).unwrap();
        let cargo = home.join("cargo").display().to_string();
        let refused = shell::capture(&mut shell::command(&cargo, ["publish", "--all"])).unwrap_err().to_string();
        std::fs::remove_dir_all(&home).unwrap();
        assert!(refused.contains("no form that ends soon: cargo publish --all"), "{refused}");
    }

    #[test]
    fn only_what_cargo_does_may_take_long() {
        assert_eq!((patience("evergrant token"), patience("cargo xtask test")), ("60", "900"));
    }
}
