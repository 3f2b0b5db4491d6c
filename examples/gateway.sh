#!/bin/sh
# Starts a gateway, waits until it holds a token, and calls the API through it without knowing anything of tokens.
set -eu

EVERGRANT_LISTEN=${EVERGRANT_LISTEN:-127.0.0.1:7070}
EVERGRANT_ADMIN_LISTEN=${EVERGRANT_ADMIN_LISTEN:-127.0.0.1:7071}
export EVERGRANT_LISTEN EVERGRANT_ADMIN_LISTEN

evergrant gateway &
gateway=$!
trap 'kill "$gateway"; wait "$gateway"' EXIT

evergrant ready --wait 30s
curl --silent --show-error --fail "http://$EVERGRANT_LISTEN${1:-/api/v2/organizations/me}"
