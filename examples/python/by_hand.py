"""Any other way to send a request: a function that takes the Authorization and may be called again."""

import urllib.request

import evergrant

source = evergrant.TokenSource.from_env()


def fetch(authorization: str, path: str) -> int:
    request = urllib.request.Request(f"{source.upstream}{path}", headers={"Authorization": authorization})
    with urllib.request.urlopen(request) as response:
        return response.status


get = evergrant.retrying(fetch, source, method="GET")
print(get("/api/v2/organizations/me"))
