"""Genesys Cloud's own client for Python in front of a refusal: the exception is printed as Python prints it.

GENESYS_HOST is the API, GENESYS_ACTION is `login`, or `call` with the token in GENESYS_TOKEN.
"""

import os

import PureCloudPlatformClientV2 as genesys

genesys.configuration.host = os.environ["GENESYS_HOST"]
client = genesys.api_client.ApiClient()
if os.environ["GENESYS_ACTION"] == "login":
    client.get_client_credentials_token(os.environ["GENESYS_CLOUD_CLIENT_ID"], os.environ["GENESYS_CLOUD_CLIENT_SECRET"])
else:
    client.access_token = os.environ["GENESYS_TOKEN"]
    genesys.UsersApi(client).get_users_me()
