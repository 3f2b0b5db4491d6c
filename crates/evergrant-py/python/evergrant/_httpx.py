"""Tokens for `httpx`."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Sequence
from typing import TYPE_CHECKING

import httpx

from . import _waiting
from ._diagnosis import attach
from ._evergrant import holds_credentials

if TYPE_CHECKING:
    from ._evergrant import Exchange
    from ._source import TokenSource


class HttpxAuth(httpx.Auth):
    """Puts a source's token into requests, and sends a refused one again where that is safe and useful.

    For `httpx.Client` and `httpx.AsyncClient` alike, and for one request. The token goes to the origins that are named,
    by default to the source's `upstream`, and nowhere else. A request with an `Authorization` of its own passes unchanged.

    If sending again gets no answer, httpx raises its exception: it shows it to no auth.
    """

    def __init__(self, source: TokenSource, *, origins: Sequence[str] | None = None) -> None:
        self._sender = source._source.sender(None if origins is None else list(origins))

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        if _has_own_credentials(request):
            yield request
            return
        exchange = self._begin(request)
        authorization = exchange.begin(True)
        while authorization is not None:
            request.headers["Authorization"] = authorization
            response = yield request
            request = response.request
            if _is_passed(exchange, response, authorization):
                return
            body = response.read()
            authorization, verdict = exchange.judge(
                response.status_code, _fields(response), body, _is_body_kept(request), str(request.url)
            )
        attach(response, verdict)

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        if _has_own_credentials(request):
            yield request
            return
        exchange = self._begin(request)
        authorization: str | None = await _waiting.begin(exchange)
        while authorization is not None:
            request.headers["Authorization"] = authorization
            response = yield request
            request = response.request
            if _is_passed(exchange, response, authorization):
                return
            body = await response.aread()
            authorization, verdict = await _waiting.judge(
                exchange, response.status_code, _fields(response), body, _is_body_kept(request), str(request.url)
            )
        attach(response, verdict)

    def _begin(self, request: httpx.Request) -> Exchange:
        has_key = "Idempotency-Key" in request.headers
        return self._sender.exchange(request.method, str(request.url), _is_body_kept(request), has_key)


def _has_own_credentials(request: httpx.Request) -> bool:
    own = request.headers.get("Authorization")
    return own is not None and holds_credentials(own)


def _is_passed(exchange: Exchange, response: httpx.Response, authorization: str) -> bool:
    """Is there nothing to judge? An answer of a place that the token was not sent to says nothing of it."""
    is_ours = response.request.headers.get("Authorization") == authorization
    return not is_ours or exchange.accept(response.status_code, response.headers)


def _fields(response: httpx.Response) -> list[tuple[str, str]]:
    return response.headers.multi_items()


def _is_body_kept(request: httpx.Request) -> bool:
    """Can the body be sent again? What httpx holds in memory can."""
    return isinstance(request.stream, httpx.ByteStream)
