"""Tokens for `requests`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

import requests
from requests.auth import AuthBase
from requests.utils import rewind_body

from ._diagnosis import attach
from ._evergrant import holds_credentials

if TYPE_CHECKING:
    from ._evergrant import Exchange
    from ._source import TokenSource


class RequestsAuth(AuthBase):
    """Puts a source's token into requests, and sends a refused one again where that is safe and useful.

    Give it to a session (`session.auth = RequestsAuth(source)`) or to one request. The token goes to the origins that are
    named, by default to the source's `upstream`, and nowhere else: not even with a redirect. A request with an
    `Authorization` of its own passes unchanged.
    """

    def __init__(self, source: TokenSource, *, origins: Sequence[str] | None = None) -> None:
        self._sender = source._source.sender(None if origins is None else list(origins))

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        headers = request.headers
        own = headers.get("Authorization")
        if own is not None and holds_credentials(own):
            return request
        exchange = self._sender.exchange(
            request.method or "GET", request.url or "", _is_body_kept(request), "Idempotency-Key" in headers
        )
        authorization = exchange.begin(True)
        assert authorization is not None
        headers["Authorization"] = authorization
        request.hooks["response"].append(_Sends(self, exchange, authorization))
        return request


class _Sends:
    """One request through its sends, and through the redirects that it is sent on."""

    def __init__(self, auth: RequestsAuth, exchange: Exchange, authorization: str) -> None:
        self._auth = auth
        self._exchange = exchange
        self._authorization = authorization

    def __call__(self, response: requests.Response, **how: Any) -> requests.Response:
        while response.request.headers.get("Authorization") == self._authorization:
            if self._exchange.accept(response.status_code, response.headers):
                if 300 <= response.status_code < 400 and response.is_redirect:
                    self._keep_at_home(response)
                break
            authorization, verdict = self._judge(response, bool(how.get("stream")))
            if authorization is None:
                attach(response, verdict)
                break
            again = self._send_again(response, authorization, how)
            if again is None:
                attach(response, self._exchange.verdict_on_last_refusal())
                break
            response = again
        return response

    def _judge(self, response: requests.Response, is_streamed: bool) -> Any:
        body = response.content if _is_body_readable(response, is_streamed) else b""
        fields = list(response.headers.items())
        can_send_again = _is_body_kept(response.request)
        return self._exchange.judge(response.status_code, fields, body, can_send_again, response.request.url)

    def _send_again(
        self, refused: requests.Response, authorization: str, how: dict[str, Any]
    ) -> requests.Response | None:
        """The next answer; `None` if there is none, so that the refusal is the better news."""
        request = refused.request
        request.headers["Authorization"] = self._authorization = authorization
        refused.close()
        try:
            if isinstance(getattr(request, "_body_position", None), int):
                rewind_body(request)
            response: requests.Response = refused.connection.send(request, **how)
        except requests.RequestException:
            return None
        response.history = [*refused.history]
        return response

    def _keep_at_home(self, response: requests.Response) -> None:
        """A redirect takes the fields of its request along; to another origin the token stays behind."""
        request = response.request
        if not self._auth._sender.allows(urljoin(request.url or "", response.headers["Location"])):
            del request.headers["Authorization"]


def _is_body_kept(request: requests.PreparedRequest) -> bool:
    """Can the body be sent again? Text can, and so can a file whose position requests has noted."""
    body = request.body
    return body is None or isinstance(body, (bytes, str)) or isinstance(getattr(request, "_body_position", None), int)


def _is_body_readable(response: requests.Response, is_streamed: bool) -> bool:
    """Without `stream=True` requests reads every body anyway; with it only one that says that it is small."""
    if not is_streamed:
        return True
    length = response.headers.get("Content-Length", "")
    return length.isdigit() and int(length) <= _LONGEST


_LONGEST = 1 << 20
