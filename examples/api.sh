#!/bin/sh
# One API request. If the API refuses it, the reason is on standard error.
set -eu

evergrant api GET "${1:-/api/v2/organizations/me}"
