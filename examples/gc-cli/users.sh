#!/bin/sh
# All users, by the command line of Genesys Cloud (gc 128.0.0 or later) with a gateway of its own. For an environment called
# localhost gc neither logs in nor uses TLS; it sends no token, and the gateway adds one that works to every page.
set -eu

# shellcheck disable=SC2016 # the inner shell expands it
evergrant exec --gateway -- sh -c '
    unset GENESYSCLOUD_ACCESS_TOKEN
    gc --environment "localhost:${EVERGRANT_GATEWAY_URL##*:}" users list --autopaginate'
