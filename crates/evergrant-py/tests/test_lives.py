"""Each adapter through several lives of short tokens: propagation, a clock that is off, rotation, revocation."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

import evergrant
import lives
from conftest import Provider


def by_requests(source: evergrant.TokenSource) -> lives.Send:
    import requests

    session = requests.Session()
    session.auth = evergrant.RequestsAuth(source)
    return lambda method, url: session.request(method, url, headers={"sim-effect": url}).status_code


def by_httpx(source: evergrant.TokenSource) -> lives.Send:
    import httpx

    client = httpx.Client(auth=evergrant.HttpxAuth(source))
    return lambda method, url: client.request(method, url, headers={"sim-effect": url}).status_code


async def by_async_httpx(source: evergrant.TokenSource) -> Any:
    import httpx

    client = httpx.AsyncClient(auth=evergrant.HttpxAuth(source))

    async def send(method: str, url: str) -> int:
        return (await client.request(method, url, headers={"sim-effect": url})).status_code

    return send


async def by_aiohttp(source: evergrant.TokenSource) -> Any:
    import aiohttp
    import evergrant.aiohttp

    session = aiohttp.ClientSession(middlewares=[evergrant.aiohttp.middleware(source)])

    async def send(method: str, url: str) -> int:
        async with session.request(method, url, headers={"sim-effect": url}) as response:
            await response.read()
            return response.status

    return send


def by_genesys_sdk(source: evergrant.TokenSource) -> lives.Send:
    import PureCloudPlatformClientV2 as sdk
    from evergrant import genesys

    assert source.upstream is not None
    client = sdk.ApiClient(host=source.upstream)
    genesys.attach(client, source)

    def send(method: str, url: str) -> int:
        path = url.removeprefix(source.upstream or "")
        headers = {"sim-effect": url, "Content-Type": "application/json"}
        client.call_api(path, method, header_params=headers, body={}, auth_settings=["PureCloud OAuth"])
        return int(client.last_response.status)

    return send


def by_hand(source: evergrant.TokenSource) -> lives.Send:
    import urllib.error
    import urllib.request

    def one(authorization: str, method: str, url: str) -> int:
        headers = {"Authorization": authorization, "sim-effect": url}
        request = urllib.request.Request(url, b"" if method == "POST" else None, headers, method=method)
        with urllib.request.urlopen(request) as response:
            return int(response.status)

    sends = {method: evergrant.retrying(one, source, method=method) for method in ("GET", "POST")}
    return lambda method, url: sends[method](method, url)


ADAPTERS: dict[str, Callable[[evergrant.TokenSource], Any]] = {
    "requests": by_requests,
    "httpx": by_httpx,
    "httpx, async": lives.blocking(by_async_httpx),
    "aiohttp": lives.blocking(by_aiohttp),
    "genesys sdk": by_genesys_sdk,
    "by hand": by_hand,
}


@pytest.fixture(scope="module")
def runs() -> Iterator[dict[tuple[str, bool], Future[None]]]:
    """All of them at once, since they mostly wait."""
    cases = [(name, is_rotating) for name in ADAPTERS for is_rotating in (False, True)]
    providers = {case: Provider(lives.ROTATING if case[1] else lives.TURBULENT) for case in cases}
    with ThreadPoolExecutor(len(cases)) as pool:
        yield {case: pool.submit(lives.run, providers[case], case[1], ADAPTERS[case[0]]) for case in cases}
    for provider in providers.values():
        provider.stop()


@pytest.mark.parametrize("is_rotating", [False, True], ids=["client credentials", "rotation"])
@pytest.mark.parametrize("name", ADAPTERS)
def test_no_failure_is_seen(name: str, is_rotating: bool, runs: dict[tuple[str, bool], Future[None]]) -> None:
    runs[name, is_rotating].result(120)
