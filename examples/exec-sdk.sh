#!/bin/sh
# Runs a program that uses one of Genesys Cloud's SDKs, as it is: exec-sdk.sh python3 genesys-sdk.py
# The SDK finds a gateway in its settings file, in a home folder of links, and logs in there with what is good nowhere else.
set -eu

exec evergrant exec --gateway --sdk-config=home -- "$@"
