#!/bin/sh
# Runs a command that reads its token from the environment. The command sees the token and none of the secrets.
# The token is good for its life; a command that runs longer is better off with exec-gateway.sh or exec-token-file.sh.
set -eu

# shellcheck disable=SC2016 # the inner shell expands it
evergrant exec -- sh -c 'printf "the token has %s characters\n" "${#EVERGRANT_ACCESS_TOKEN}"'
