#!/usr/bin/env python3
"""Plays gc, the command line of Genesys Cloud: finds its environment, and lists users as far as login and address go.

The rules are those of gc 166.0.0 (github.com/MyPureCloud/platform-client-sdk-cli, commit 44244cc of 2026-07-13,
build/gc/config/config.go and build/gc/restclient/restclient.go): a flag is stronger than GENESYSCLOUD_REGION, that than the
profile; localhost, with a port or without, means no TLS and no login. Any other environment would be the real one, so it is
an error here.
"""

import os
import sys
import tomllib
import urllib.request
from pathlib import Path


def option(name):
    arguments = sys.argv[1:]
    return arguments[arguments.index(name) + 1] if name in arguments else ""


def profile():
    path = Path.home() / ".gc/config.toml"
    return tomllib.loads(path.read_text())["DEFAULT"] if path.exists() else {}


environment = option("--environment") or os.environ.get("GENESYSCLOUD_REGION") or profile().get("environment", "")
if "." not in environment and environment != "localhost" and not environment.startswith("localhost:"):
    sys.exit(f"Invalid AWS region: {environment}")
if "localhost" not in environment:
    sys.exit(f"{environment} is not for tests")
if "users" not in sys.argv or "list" not in sys.argv:
    sys.exit("unknown command")

token = option("--accesstoken") or os.environ.get("GENESYSCLOUD_ACCESS_TOKEN") or profile().get("access_token", "")
request = urllib.request.Request(
    f"http://{environment}/api/v2/users?pageNumber=1&pageSize=25",
    headers={
        "Authorization": f"Bearer {token}",
        "Cache-Control": "no-cache",
        "User-Agent": "PureCloud SDK/go-cli",
        "purecloud-sdk": "166.0.0",
    },
)
with urllib.request.urlopen(request, timeout=20) as answer:
    print(answer.read().decode())
