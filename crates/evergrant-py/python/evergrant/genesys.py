"""Tokens for the Genesys Cloud Python SDK, `PureCloudPlatformClientV2`."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from PureCloudPlatformClientV2.abstract_http_client import AbstractHttpClient
from PureCloudPlatformClientV2.rest import ApiException

from ._source import TokenSource

if TYPE_CHECKING:
    from ._evergrant import Sender


def attach(api_client: Any, source: TokenSource | None = None) -> TokenSource:
    """Lets an `ApiClient` send its calls with a source's token, and send a refused call again where that is safe.

    Without a source, variables describe it (`TokenSource.from_env`). An `ApiException` that remains has a `verdict`, which is
    `None` if it refuses nothing that has to do with credentials. The token goes to the client's `host`, or its gateway, and
    to the source's `upstream`, and nowhere else. The client's own token and its
    `get_client_credentials_token` are not needed.
    """
    source = TokenSource.from_env() if source is None else source
    origins = {origin for origin in (api_client.get_conf_url("api", api_client.host), source.upstream) if origin}
    sender = source._source.sender(sorted(origins))
    api_client.set_http_client(_Client(api_client.get_http_client(), sender))
    return source


class _Client(AbstractHttpClient):  # type: ignore[misc]
    """Sends with another client of the SDK."""

    def __init__(self, inner: AbstractHttpClient, sender: Sender) -> None:
        super().__init__()
        self._inner = inner
        self._sender = sender

    def set_timeout(self, timeout: float) -> None:
        self._inner.set_timeout(timeout)

    def set_pre_request_hook(self, hook: Any) -> None:
        self._inner.set_pre_request_hook(hook)

    def set_post_request_hook(self, hook: Any) -> None:
        self._inner.set_post_request_hook(hook)

    def request(self, options: Any) -> Any:
        if not self._sender.allows(options.url):
            return self._inner.request(options)
        exchange = self._sender.exchange(options.method, options.url, not options.post_params, False)
        authorization = exchange.begin(True)
        refusal: ApiException | None = None
        while True:
            try:
                answer = self._inner.request(_with(options, authorization))
            except Exception as error:
                if isinstance(error, ApiException):
                    error.verdict = None
                if not (isinstance(error, ApiException) and error.status):
                    if refusal is None:
                        raise
                    # A replay without an answer: the refusal is the better news.
                    refusal.verdict = exchange.verdict_on_last_refusal()
                    raise refusal from error
                headers = error.headers or {}
                if exchange.accept(error.status, headers):
                    raise
                body = (error.body or "").encode()
                fields = list(headers.items())
                authorization, error.verdict = exchange.judge(error.status, fields, body, not options.post_params)
                if authorization is None:
                    raise
                refusal = error
            else:
                exchange.accept(answer.status, answer.getheaders())
                return answer


def _with(options: Any, authorization: str | None) -> Any:
    """The same request with another `Authorization`. The SDK logs the fields of the one that it made."""
    options = copy.copy(options)
    options.headers = {**options.headers, "Authorization": authorization}
    return options
