"""Genesys Cloud's Python library through a gateway, as it is: only its settings file knows (genesys-sdk-config.ini).

The program logs in as it would at Genesys Cloud. What it gets is a handle of the gateway that works nowhere else; the
real token stays there and is renewed there.
"""

import os

import PureCloudPlatformClientV2 as genesys

client = genesys.api_client.ApiClient().get_client_credentials_token(
    os.environ["GENESYS_CLOUD_CLIENT_ID"], os.environ["GENESYS_CLOUD_CLIENT_SECRET"]
)
genesys.OrganizationApi(client).get_organizations_me()
print("the call worked with", client.access_token[:4] + "...")
