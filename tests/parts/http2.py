"""A Python caller that speaks HTTP/2 without TLS: it logs in at the gateway in its first argument and makes 50 calls.

httpx does that by prior knowledge when HTTP/1.1 is switched off. Prints a JSON object with statuses and versions.
"""

import collections
import json
import os
import sys

import httpx

with httpx.Client(http1=False, http2=True, base_url=sys.argv[1], trust_env=False) as client:
    secret = (os.environ["GENESYS_CLOUD_CLIENT_ID"], os.environ["GENESYS_CLOUD_CLIENT_SECRET"])
    login = client.post("/login/oauth/token", data={"grant_type": "client_credentials"}, auth=secret)
    held = login.json()["access_token"]
    answers = [client.get("/gw/api/v2/users/me", headers={"Authorization": f"Bearer {held}"}) for _ in range(50)]
    last = client.delete("/gw/api/v2/tokens/me", headers={"Authorization": f"Bearer {held}"})
    after = client.get("/gw/api/v2/users/me", headers={"Authorization": f"Bearer {held}"})

count = collections.Counter(f"{answer.http_version} {answer.status_code}" for answer in [login, *answers])
print(json.dumps({"seen": count, "held": held, "ended": last.status_code, "after": after.status_code}))
