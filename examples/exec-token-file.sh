#!/bin/sh
# Runs a command that reads its token again for each request, because the file always holds one that works.
set -eu

# shellcheck disable=SC2016 # the inner shell expands it
evergrant exec --token-file -- sh -c '
    for page in 1 2 3; do
        printf "Authorization: Bearer %s\n" "$(cat "$EVERGRANT_ACCESS_TOKEN_FILE")" |
            curl --silent --show-error --fail --header @- "$EVERGRANT_UPSTREAM/api/v2/users?page=$page"
        echo
    done'
