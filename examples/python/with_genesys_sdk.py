"""The Genesys Cloud SDK, unchanged but for one line, and the reason where a call is refused."""

import os

import PureCloudPlatformClientV2 as sdk
from evergrant import genesys
from PureCloudPlatformClientV2.rest import ApiException

client = sdk.ApiClient(host=os.environ.get("EVERGRANT_UPSTREAM", "https://api.mypurecloud.com"))
genesys.attach(client)
try:
    print(sdk.TokensApi(client).get_tokens_me().authorized_scope)
except ApiException as error:
    print(error.status, getattr(error, "verdict", ""))
