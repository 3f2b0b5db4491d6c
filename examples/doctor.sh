#!/bin/sh
# Looks at everything between here and the API before a night's run, and stops the run if something is broken. The page
# is for whoever has to mend it: it holds no secret and needs nothing but a browser.
set -eu

report=${1:-evergrant-doctor.html}
evergrant doctor --html "$report" || {
    echo "not starting: see $report" >&2
    exit 1
}
