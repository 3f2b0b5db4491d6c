#!/bin/sh
# Says why the API refuses a request of curl's. The log of curl holds the token, so it goes through a pipe and into no file.
set -eu

path=${1:-/api/v2/organizations/me}
evergrant token --format header |
    curl --silent --verbose --header @- "$EVERGRANT_UPSTREAM$path" 2>&1 |
    evergrant explain -
