#!/bin/sh
# All users, by the command line of Genesys Cloud (gc 128.0.0 or later) with a gateway of its own. For an environment called
# localhost gc neither logs in nor uses TLS; what it sends is a handle, and the gateway puts a token that works in its place.
set -eu

# shellcheck disable=SC2016 # the inner shell expands it
evergrant exec --gateway -- sh -c '
    gc --environment "localhost:$GENESYSCLOUD_GATEWAY_PORT" users list --autopaginate'
