"""One session of requests whose calls survive the end of a token."""

import requests
from evergrant import RequestsAuth, TokenSource, verdict_of

with TokenSource.from_env() as source:
    session = requests.Session()
    session.auth = RequestsAuth(source)
    response = session.get(f"{source.upstream}/api/v2/organizations/me")
    print(response.status_code, verdict_of(response) or "")
