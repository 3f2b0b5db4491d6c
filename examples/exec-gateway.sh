#!/bin/sh
# Runs a command with a private gateway. Every call through it carries a token that works, for as long as it runs.
set -eu

# shellcheck disable=SC2016 # the inner shell expands it
evergrant exec --gateway -- sh -c '
    for page in 1 2 3; do
        curl --silent --show-error --fail "$EVERGRANT_GATEWAY_URL/api/v2/users?page=$page"
        echo
    done'
