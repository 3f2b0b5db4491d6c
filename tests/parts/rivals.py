"""Two clients in common use, unchanged, that do what standard input says.

The line `start NAME URL` makes a new client of this name for the provider at this address; the line `call` makes a call
with it. After each call a line on standard output has its number and the status that the caller saw. Nothing here
refreshes, waits or repeats: what happens beside the call is the client's own.
"""

import os
import sys
from urllib.parse import urlsplit

PATH = "/api/v2/users/me"
CLIENT = os.environ["CLIENT_ID"], os.environ["CLIENT_SECRET"]


def google_auth(provider):
    """google-auth with the refresh token of a user, and the session that its manual recommends."""
    from google.auth.transport.requests import AuthorizedSession
    from google.oauth2.credentials import Credentials

    (client_id, client_secret), token_uri = CLIENT, f"{provider}/oauth/token"
    secrets = {"client_id": client_id, "client_secret": client_secret, "refresh_token": os.environ["REFRESH_TOKEN"]}
    session = AuthorizedSession(Credentials(None, token_uri=token_uri, **secrets))
    return lambda: session.get(provider + PATH).status_code


def genesys(provider, log_in):
    """Genesys Cloud's own client, logged in in one of the two ways of its manual."""
    import PureCloudPlatformClientV2 as genesys
    from PureCloudPlatformClientV2.rest import ApiException

    address = urlsplit(provider)
    genesys.configuration.host = provider
    client = genesys.api_client.ApiClient()
    client.set_gateway(address.hostname, address.scheme, address.port, "", "")
    log_in(client)
    users = genesys.UsersApi(client)

    def call():
        try:
            users.get_users_me()
        except ApiException as error:
            return error.status
        return 200

    return call


def with_client_credentials(client):
    client.get_client_credentials_token(*CLIENT)


def with_refresh_token(client):
    client.refresh_code_authorization_token(*CLIENT, os.environ["REFRESH_TOKEN"])
    client.client_id, client.client_secret = CLIENT


clients = {
    "google_auth": google_auth,
    "genesys_client_credentials": lambda provider: genesys(provider, with_client_credentials),
    "genesys_refresh_token": lambda provider: genesys(provider, with_refresh_token),
}

call, number = None, 0
for line in sys.stdin:
    match line.split():
        case ["start", name, provider]:
            call = clients[name](provider)
        case ["call"]:
            print(f"call {number}: {call()}", flush=True)
            number += 1
