"""Requests that are sent without an adapter: retried, and diagnosed."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable, Iterator

import httpx
import pytest
import requests

import evergrant
from conftest import Provider, always


@pytest.fixture
def source(provider: Provider) -> Iterator[evergrant.TokenSource]:
    """A source that does not wait long for a new token to become known."""
    with evergrant.TokenSource(**provider.settings(settle=0.2)) as source:
        yield source


def fetch(authorization: str, url: str) -> int:
    request = urllib.request.Request(url, headers={"Authorization": authorization})
    with urllib.request.urlopen(request) as response:
        return int(response.status)


def test_an_exception_that_stands_for_a_refusal_is_retried(provider: Provider, source: evergrant.TokenSource) -> None:
    get = evergrant.retrying(fetch, source, method="GET")
    assert get(provider.url + "/api/v2/things") == 200
    provider.say("revoke_all")
    assert get(url=provider.url + "/api/v2/things") == 200
    assert provider.mints == 2
    assert get.__name__ == "fetch"


def test_what_remains_of_a_refusal_is_raised_with_its_verdict(
    provider: Provider, source: evergrant.TokenSource
) -> None:
    provider.say({"api_fault": {**always("missing_permission"), "route": None}})
    with pytest.raises(urllib.error.HTTPError) as raised:
        evergrant.retrying(fetch, source)(provider.url + "/api/v2/things")
    verdict = evergrant.verdict_of(raised.value)
    assert verdict is not None and verdict.fault == "client_config"


def test_other_exceptions_pass(source: evergrant.TokenSource) -> None:
    def send(authorization: str) -> None:
        raise LookupError(authorization[:6])

    with pytest.raises(LookupError, match="Bearer"):
        evergrant.retrying(send, source)()


class Answered(Exception):
    """An exception of some client, with whatever it calls a code."""

    def __init__(self, code: object, response: object = None) -> None:
        self.code = code
        self.response = response


def by_requests(authorization: str, url: str) -> int:
    response = requests.get(url, headers={"Authorization": authorization})
    response.raise_for_status()
    return response.status_code


def by_httpx(authorization: str, url: str) -> int:
    return httpx.get(url, headers={"Authorization": authorization}).raise_for_status().status_code


def by_httpx_without_a_body(authorization: str, url: str) -> int:
    with httpx.stream("GET", url, headers={"Authorization": authorization}) as response:
        return response.raise_for_status().status_code


def by_an_sdk(authorization: str, url: str) -> int:
    response = requests.get(url, headers={"Authorization": authorization})
    if not response.ok:
        raise Answered(response.status_code, {"message": "what the body says"})
    return response.status_code


RAISING = [by_requests, by_httpx, by_httpx_without_a_body, by_an_sdk]


@pytest.mark.parametrize("send", RAISING)
def test_an_exception_that_carries_a_refusal_is_retried(
    provider: Provider, source: evergrant.TokenSource, send: Callable[[str, str], int]
) -> None:
    get = evergrant.retrying(send, source, method="GET")
    assert get(provider.url + "/api/v2/things") == 200
    provider.say("revoke_all")
    assert get(provider.url + "/api/v2/things") == 200
    assert provider.mints == 2


@pytest.mark.parametrize("send", RAISING)
def test_an_exception_that_carries_a_refusal_has_its_verdict(
    provider: Provider, source: evergrant.TokenSource, send: Callable[[str, str], int]
) -> None:
    provider.say({"api_fault": {**always("missing_permission"), "route": None}})
    with pytest.raises((requests.HTTPError, httpx.HTTPStatusError, Answered)) as raised:
        evergrant.retrying(send, source, method="GET")(provider.url + "/api/v2/things")
    verdict = evergrant.verdict_of(raised.value)
    assert verdict is not None and verdict.fault == "client_config"


@pytest.mark.parametrize("code", [1006, 0, -1, 99, 600, 70_000, True, 401.0, "401", None])
def test_a_code_that_is_no_http_status_passes(source: evergrant.TokenSource, code: object) -> None:
    def send(authorization: str) -> None:
        raise Answered(code)

    with pytest.raises(Answered) as raised:
        evergrant.retrying(send, source)()
    assert raised.value.code is code


def test_an_answer_that_takes_no_verdict_passes(source: evergrant.TokenSource) -> None:
    class Frozen:
        __slots__ = ()
        status = 403

    answer = Frozen()
    assert evergrant.retrying(lambda authorization: answer, source)() is answer


@pytest.mark.parametrize("is_raised", [False, True], ids=["returned", "raised"])
def test_a_replay_without_an_answer_gives_the_refusal_before_it(
    provider: Provider, source: evergrant.TokenSource, is_raised: bool
) -> None:
    sends = 0

    def send(authorization: str) -> requests.Response:
        nonlocal sends
        sends += 1
        if sends > 2:
            raise requests.ConnectionError("the replay is lost")
        response = requests.get(provider.url + "/api/v2/things", headers={"Authorization": authorization})
        if is_raised:
            response.raise_for_status()
        return response

    get = evergrant.retrying(send, source, method="GET")
    assert get().status_code == 200
    provider.say("revoke_all")
    if is_raised:
        with pytest.raises(requests.HTTPError) as raised:
            get()
        assert isinstance(raised.value.__cause__, requests.ConnectionError)
        refusal: object = raised.value
    else:
        response = get()
        assert response.status_code == 401 and response.content
        refusal = response
    assert sends == 3
    verdict = evergrant.verdict_of(refusal)
    assert verdict is not None and verdict.evidence and verdict.remedy


def test_a_request_without_any_answer_raises_what_the_client_raises(source: evergrant.TokenSource) -> None:
    def send(authorization: str) -> None:
        raise requests.ConnectionError("nobody is there")

    with pytest.raises(requests.ConnectionError):
        evergrant.retrying(send, source, method="GET")()


@pytest.mark.parametrize("client", [requests, httpx])
def test_a_response_is_diagnosed(provider: Provider, source: evergrant.TokenSource, client: object) -> None:
    url, token = provider.url + "/api/v2/things", source.token()
    get = client.get  # type: ignore[attr-defined]
    assert evergrant.diagnose(get(url, headers={"Authorization": f"Bearer {token}"})) is None
    missing = evergrant.diagnose(get(url))
    assert missing is not None and missing.cause == "missing_token"
    provider.say("revoke_all")
    refused = get(url, headers={"Authorization": f"Bearer {token}"})
    alone, known = evergrant.diagnose(refused), evergrant.diagnose(refused, source=source)
    assert alone is not None and known is not None
    assert known.id and known.evidence
    assert token not in str(known.as_dict()) + str(alone.as_dict())
    assert repr(known) == f"<evergrant.Verdict {known.header}>"
