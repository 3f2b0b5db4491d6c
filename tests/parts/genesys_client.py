"""Genesys Cloud's own client, used as its manual says, with its host on a local gateway.

The first argument is the gateway's address. No token is set: the client sends an empty one, which the gateway fills.
Calls go round through five methods until standard input closes. The last line on standard output is a JSON object with
the number of calls and every failure. The client does not refresh and does not retry a 401.
"""

import json
import sys
import threading

import PureCloudPlatformClientV2 as genesys
from PureCloudPlatformClientV2.rest import ApiException

genesys.configuration.host = sys.argv[1]
client = genesys.api_client.ApiClient()

users = genesys.UsersApi(client)
organization = genesys.OrganizationApi(client)
tokens = genesys.TokensApi(client)
analytics = genesys.AnalyticsApi(client)

report = {"calls": 0, "posts": 0, "failures": []}


def query():
    """A POST whose execution the provider counts by this header."""
    report["posts"] += 1
    client.set_default_header("sim-effect", f"query-{report['posts']}")
    body = genesys.ConversationQuery()
    body.interval = "2026-01-01T00:00:00Z/2026-01-02T00:00:00Z"
    analytics.post_analytics_conversations_details_query(body)


methods = [
    users.get_users_me,
    lambda: users.get_users(page_size=25, page_number=2),
    organization.get_organizations_me,
    tokens.get_tokens_me,
    query,
]

closed = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), closed.set()), daemon=True).start()

while not closed.wait(0.01):
    method = methods[report["calls"] % len(methods)]
    report["calls"] += 1
    try:
        method()
    except ApiException as error:
        report["failures"].append(f"{error.status} {error.reason} {error.body}")

print(json.dumps(report))
