"""The adapters under one face: send a request, get status, body and verdict."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

import evergrant


@dataclass
class Answer:
    """What came of a request."""

    status: int
    body: bytes
    verdict: evergrant.Verdict | None


#: Method, URL, and what `headers`, `json` or `chunks` say.
Send = Callable[..., Answer]


def by_requests(source: evergrant.TokenSource, origins: list[str] | None = None) -> Send:
    import requests

    session = requests.Session()
    session.auth = evergrant.RequestsAuth(source, origins=origins)

    def send(method: str, url: str, chunks: Any = None, **more: Any) -> Answer:
        response = session.request(method, url, data=chunks, **more)
        return Answer(response.status_code, response.content, evergrant.verdict_of(response))

    return send


def by_httpx(source: evergrant.TokenSource, origins: list[str] | None = None) -> Send:
    import httpx

    client = httpx.Client(auth=evergrant.HttpxAuth(source, origins=origins), follow_redirects=True)

    def send(method: str, url: str, chunks: Iterator[bytes] | None = None, **more: Any) -> Answer:
        response = client.request(method, url, content=chunks, **more)
        return Answer(response.status_code, response.content, evergrant.verdict_of(response))

    return send


async def _each(chunks: Iterator[bytes] | None) -> AsyncIterator[bytes]:
    for chunk in chunks or ():
        yield chunk


def by_async_httpx(source: evergrant.TokenSource, origins: list[str] | None = None) -> Send:
    import httpx

    async def one(method: str, url: str, chunks: Iterator[bytes] | None = None, **more: Any) -> Answer:
        auth = evergrant.HttpxAuth(source, origins=origins)
        async with httpx.AsyncClient(auth=auth, follow_redirects=True) as client:
            content = _each(chunks) if chunks else None
            response = await client.request(method, url, content=content, **more)
            return Answer(response.status_code, response.content, evergrant.verdict_of(response))

    return lambda *args, **more: asyncio.run(one(*args, **more))


def by_aiohttp(source: evergrant.TokenSource, origins: list[str] | None = None) -> Send:
    import aiohttp
    import evergrant.aiohttp

    async def one(method: str, url: str, chunks: Iterator[bytes] | None = None, **more: Any) -> Answer:
        middleware = evergrant.aiohttp.middleware(source, origins=origins)
        async with aiohttp.ClientSession(middlewares=[middleware]) as session:
            data = _each(chunks) if chunks else None
            async with session.request(method, url, data=data, **more) as response:
                return Answer(response.status, await response.read(), evergrant.verdict_of(response))

    return lambda *args, **more: asyncio.run(one(*args, **more))


ADAPTERS = {"requests": by_requests, "httpx": by_httpx, "httpx, async": by_async_httpx, "aiohttp": by_aiohttp}
