"""A function for AWS Lambda that reads from the API; the handler is `handler.handler`.

Its variables are EVERGRANT_REGION, EVERGRANT_CLIENT_ID and EVERGRANT_CLIENT_SECRET, or those of another provider.
"""

import requests
from evergrant import RequestsAuth, TokenSource, verdict_of

# Made once for an environment of execution, used by all its invocations. It asks for no token before the first of them,
# so a snapshot of the environment holds none.
source = TokenSource.from_env(timeout=5)
session = requests.Session()
session.auth = RequestsAuth(source)


def handler(event, context):
    response = session.get(f"{source.upstream}/api/v2/users", params={"pageSize": event.get("pageSize", 25)}, timeout=5)
    if not response.ok:
        raise RuntimeError(f"the API answered {response.status_code}: {verdict_of(response)}")
    return response.json()
