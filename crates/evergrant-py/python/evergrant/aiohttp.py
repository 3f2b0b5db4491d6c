"""Tokens for `aiohttp`, version 3.12 or later: `ClientSession(middlewares=[evergrant.aiohttp.middleware(source)])`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aiohttp import ClientError, ClientHandlerType, ClientMiddlewareType, ClientRequest, ClientResponse, payload

from . import _waiting
from ._diagnosis import attach
from ._evergrant import holds_credentials

if TYPE_CHECKING:
    from ._evergrant import Exchange, Verdict
    from ._source import TokenSource


def middleware(source: TokenSource, *, origins: Sequence[str] | None = None) -> ClientMiddlewareType:
    """Puts a source's token into requests, and sends a refused one again where that is safe and useful.

    The token goes to the origins that are named, by default to the source's `upstream`. A request elsewhere, be it a
    redirect or your own, goes out without it: a middleware cannot tell the two apart. One with an `Authorization` of its
    own passes unchanged.
    """
    sender = source._source.sender(None if origins is None else list(origins))

    async def send(request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
        url = str(request.url)
        if not sender.allows(url) or holds_credentials(request.headers.get("Authorization", "")):
            return await handler(request)
        exchange = sender.exchange(request.method, url, _is_body_kept(request), "Idempotency-Key" in request.headers)
        return await _send(exchange, request, handler)

    return send


async def _send(exchange: Exchange, request: ClientRequest, handler: ClientHandlerType) -> ClientResponse:
    request.headers["Authorization"] = await _waiting.begin(exchange)
    response = await handler(request)
    while not exchange.accept(response.status, response.headers):
        authorization, verdict = await _judge(exchange, request, response)
        if authorization is None:
            attach(response, verdict)
            return response
        request.headers["Authorization"] = authorization
        refused, response = response, await _again(request, handler, response)
        if response is refused:
            attach(response, exchange.verdict_on_last_refusal())
            return response
    return response


async def _judge(
    exchange: Exchange, request: ClientRequest, response: ClientResponse
) -> tuple[str | None, Verdict | None]:
    body = await response.read()
    fields = list(response.headers.items())
    return await _waiting.judge(exchange, response.status, fields, body, _is_body_kept(request), str(request.url))


async def _again(request: ClientRequest, handler: ClientHandlerType, refused: ClientResponse) -> ClientResponse:
    """The next answer; the refusal if there is none, since that is the better news."""
    try:
        return await handler(request)
    except (ClientError, OSError):
        return refused


def _is_body_kept(request: ClientRequest) -> bool:
    """Can the body be sent again? Bytes can, and a file that aiohttp can rewind."""
    body = request.body
    if isinstance(body, payload.IOBasePayload):
        return bool(body._value.seekable())
    return isinstance(body, (bytes, payload.BytesPayload))
