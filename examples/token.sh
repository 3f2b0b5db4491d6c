#!/bin/sh
# Calls the API with curl. The token goes through a pipe: an argument list is for everybody on the machine to read.
set -eu

path=${1:-/api/v2/organizations/me}
evergrant token --format header | curl --silent --show-error --fail --header @- "$EVERGRANT_UPSTREAM$path"
