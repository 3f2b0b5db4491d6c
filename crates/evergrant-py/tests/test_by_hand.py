"""Requests that are sent without an adapter: retried, and diagnosed."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Iterator

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
