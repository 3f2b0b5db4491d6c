"""Genesys Cloud's own client for Python, configured by its own file alone: it logs in and makes 200 calls, or as many as
CALLS says.

The file in the home folder names a gateway. Nothing here does. The client logs in once with the client credentials
grant, as the manual of the client says, and calls five methods in turn; it neither refreshes nor repeats anything. When
the calls are done it prints a JSON object with every failure and with what it holds as its access token, and stays
alive, so that its memory can be looked at, until standard input closes.
"""

import json
import os
import sys
import time

import PureCloudPlatformClientV2 as genesys

CALLS = int(os.environ.get("CALLS", "200"))
PAUSE_SECS = 0.12

client = genesys.api_client.ApiClient().get_client_credentials_token(
    os.environ["GENESYS_CLOUD_CLIENT_ID"], os.environ["GENESYS_CLOUD_CLIENT_SECRET"]
)
users = genesys.UsersApi(client)
organization = genesys.OrganizationApi(client)
tokens = genesys.TokensApi(client)
analytics = genesys.AnalyticsApi(client)

report = {"calls": 0, "posts": 0, "failures": [], "held": client.access_token}


def query():
    """A POST whose execution the provider counts by this header."""
    report["posts"] += 1
    client.set_default_header("sim-effect", f"python-{report['posts']}")
    body = genesys.ConversationQuery()
    body.interval = "2026-01-01T00:00:00Z/2026-01-02T00:00:00Z"
    analytics.post_analytics_conversations_details_query(body)
    del client.default_headers["sim-effect"]


methods = [
    users.get_users_me,
    lambda: users.get_users(page_size=25, page_number=2),
    organization.get_organizations_me,
    tokens.get_tokens_me,
    query,
]

for number in range(CALLS):
    report["calls"] += 1
    try:
        methods[number % len(methods)]()
    except Exception as error:  # any exception is what this test is about
        report["failures"].append(f"call {number}: {type(error).__name__}: {error}"[:2000])
    time.sleep(PAUSE_SECS)

print(json.dumps(report), flush=True)
sys.stdin.read()
