#!/bin/sh
# Runs a command with a private gateway. Every call through it carries a token that works, for as long as it runs; the
# command itself holds none. A program that insists on sending one sends $EVERGRANT_ACCESS_TOKEN, which is a handle.
set -eu

# shellcheck disable=SC2016 # the inner shell expands it
evergrant exec --gateway -- sh -c '
    for page in 1 2 3; do
        curl --silent --show-error --fail "$EVERGRANT_GATEWAY_URL/api/v2/users?page=$page"
        echo
    done'
