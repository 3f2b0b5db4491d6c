"""What holds for every adapter of an HTTP client."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import evergrant
from adapters import ADAPTERS, Send
from conftest import Provider, always
from elsewhere import Elsewhere, elsewhere


@pytest.fixture(params=ADAPTERS)
def adapter(request: pytest.FixtureRequest) -> Callable[..., Send]:
    return ADAPTERS[request.param]


@pytest.fixture
def source(provider: Provider) -> Iterator[evergrant.TokenSource]:
    """A source that does not wait long for a new token to become known."""
    with evergrant.TokenSource(**provider.settings(settle=0.2)) as source:
        yield source


@pytest.fixture
def other() -> Iterator[Elsewhere]:
    with elsewhere() as other:
        yield other


def test_a_refused_request_is_sent_again(
    provider: Provider, source: evergrant.TokenSource, adapter: Callable[..., Send]
) -> None:
    send = adapter(source)
    assert send("GET", provider.url + "/api/v2/things").status == 200
    provider.say("revoke_all")
    answer = send("POST", provider.url + "/api/v2/things", json={"a": 1}, headers={"sim-effect": "one"})
    assert (answer.status, answer.verdict) == (200, None)
    effect = provider.ledger["effects"]["one"]
    assert (effect["executions"], effect["body_len"]) == (1, len(b'{"a": 1}')) or effect["body_len"] == len(b'{"a":1}')
    assert provider.refused > 0 and provider.mints == 2


def test_a_403_is_explained_and_mints_nothing(
    provider: Provider, source: evergrant.TokenSource, adapter: Callable[..., Send]
) -> None:
    provider.say({"api_fault": {**always("missing_permission"), "route": None}})
    send = adapter(source)
    for _ in range(3):
        answer = send("GET", provider.url + "/api/v2/things")
        assert answer.status == 403 and answer.body
        assert answer.verdict is not None
        assert answer.verdict.cause in ("missing_permission", "insufficient_scope")
        assert answer.verdict.as_dict()["cause"] == answer.verdict.cause
    assert provider.mints == 1


def test_a_401_that_remains_carries_its_verdict(
    provider: Provider, source: evergrant.TokenSource, adapter: Callable[..., Send]
) -> None:
    send = adapter(source)
    assert send("GET", provider.url + "/api/v2/things").status == 200
    provider.say({"api_fault": {**always("always_unauthorized"), "route": "/api/v2/closed"}})
    answer = send("GET", provider.url + "/api/v2/closed")
    assert answer.status == 401 and answer.body
    assert answer.verdict is not None and answer.verdict.evidence and answer.verdict.remedy
    assert str(answer.verdict).startswith(answer.verdict.cause)


def test_a_post_without_a_challenge_is_not_sent_again(
    provide: Callable[..., Provider], adapter: Callable[..., Send]
) -> None:
    provider = provide(shape="rfc_bare")
    with evergrant.TokenSource(**provider.settings(settle=0.2)) as source:
        send = adapter(source)
        assert send("GET", provider.url + "/api/v2/things").status == 200
        provider.say({"api_fault": {**always("always_unauthorized"), "route": "/api/v2/things"}})
        calls = provider.ledger["api"]["calls"]
        answer = send("POST", provider.url + "/api/v2/things", json={}, headers={"sim-effect": "one"})
        assert answer.status == 401
        assert answer.verdict is not None and answer.verdict.is_replay_unsafe
        posts = provider.ledger["api"]["calls"] - calls
    assert posts <= 2, "the POST, and at most one probe of its token"
    assert "one" not in provider.ledger["effects"]


def test_a_body_that_streams_is_sent_once_and_whole(
    provider: Provider, source: evergrant.TokenSource, adapter: Callable[..., Send]
) -> None:
    send = adapter(source)
    chunks = itertools.repeat(b"x" * 1000, 100)
    answer = send("POST", provider.url + "/api/v2/things", chunks=chunks, headers={"sim-effect": "one"})
    assert answer.status == 200
    provider.say({"api_fault": {**always("always_unauthorized"), "route": "/api/v2/things"}})
    answer = send("POST", provider.url + "/api/v2/things", chunks=iter([b"x"]), headers={"sim-effect": "two"})
    assert answer.status == 401 and answer.verdict is not None
    effects = provider.ledger["effects"]
    assert (effects["one"]["executions"], effects["one"]["body_len"]) == (1, 100_000)
    assert "two" not in effects


def test_a_redirect_to_another_origin_gets_no_token(
    source: evergrant.TokenSource, adapter: Callable[..., Send], other: Elsewhere
) -> None:
    with elsewhere() as first:
        send = adapter(source, [first.url])
        assert send("GET", f"{first.url}/to?{other.url}/landed").status == 200
        assert [value is None for value in first.authorizations] == [False]
        assert other.authorizations == [None]
        # A 401 from there is not about our token.
        answer = send("GET", f"{first.url}/to?{other.url}/refuse")
        assert (answer.status, answer.verdict) == (401, None)
        assert len(other.authorizations) == 2


def test_a_redirect_within_the_origin_keeps_the_token(
    source: evergrant.TokenSource, adapter: Callable[..., Send], other: Elsewhere
) -> None:
    send = adapter(source, [other.url])
    assert send("GET", f"{other.url}/to?{other.url}/landed").status == 200
    assert len(other.authorizations) == 2 and None not in other.authorizations


def test_what_a_redirect_has_executed_is_not_executed_again(
    source: evergrant.TokenSource, adapter: Callable[..., Send], other: Elsewhere
) -> None:
    send = adapter(source, [other.url])
    assert send("POST", f"{other.url}/see?{other.url}/refuse", json={}).status == 401
    assert other.methods.count("POST") == 1


def test_a_token_goes_to_its_origins_only(
    source: evergrant.TokenSource, adapter: Callable[..., Send], other: Elsewhere
) -> None:
    send = adapter(source)
    try:
        send("GET", other.url + "/landed")
    except evergrant.ForeignOriginError as error:
        assert other.url in str(error) and other.authorizations == []
    else:
        assert other.authorizations == [None], "aiohttp cannot tell it from a redirect, and sends no token"


def test_a_callers_own_credentials_pass_unchanged(
    source: evergrant.TokenSource, adapter: Callable[..., Send], other: Elsewhere
) -> None:
    send = adapter(source, [other.url])
    assert send("GET", other.url + "/refuse", headers={"Authorization": "Basic eDp5"}).status == 401
    assert other.authorizations == ["Basic eDp5"]


def test_a_lost_replay_gives_the_refusal_before_it(
    provider: Provider, source: evergrant.TokenSource, adapter: Callable[..., Send]
) -> None:
    send = adapter(source)
    assert send("GET", provider.url + "/api/v2/things").status == 200
    route = "/api/v2/things/7"
    provider.say({"api_fault": {**always("reset"), "route": route}})
    provider.say({"api_fault": {**always("always_unauthorized", 1), "route": route}})
    try:
        answer = send("GET", provider.url + route)
    except Exception as error:
        assert type(error).__module__ == "httpx", "httpx shows an auth no exception"
    else:
        assert answer.status == 401 and answer.body and answer.verdict is not None


def test_a_file_is_sent_again_from_where_it_began(
    provider: Provider, source: evergrant.TokenSource, tmp_path: Path
) -> None:
    import requests

    (tmp_path / "body").write_bytes(b"skipped" + b"x" * 100_000)
    session = requests.Session()
    session.auth = evergrant.RequestsAuth(source)
    assert session.get(provider.url + "/api/v2/things").status_code == 200
    provider.say("revoke_all")
    with (tmp_path / "body").open("rb") as body:
        body.seek(len(b"skipped"))
        response = session.post(provider.url + "/api/v2/things", data=body, headers={"sim-effect": "file"})
    assert response.status_code == 200
    effect = provider.ledger["effects"]["file"]
    assert (effect["executions"], effect["body_len"]) == (1, 100_000)
    assert provider.refused > 0


def test_hooks_of_a_program_see_the_last_answer_alone(provider: Provider, source: evergrant.TokenSource) -> None:
    import requests

    session = requests.Session()
    session.auth = evergrant.RequestsAuth(source)
    session.hooks["response"].append(lambda response, **_: response.raise_for_status())
    assert session.get(provider.url + "/api/v2/things").status_code == 200
    provider.say("revoke_all")
    assert session.get(provider.url + "/api/v2/things").status_code == 200


def test_a_streamed_refusal_is_passed_on_whole(provider: Provider, source: evergrant.TokenSource) -> None:
    import requests

    provider.say({"api_fault": {**always("missing_permission"), "route": None}})
    session = requests.Session()
    session.auth = evergrant.RequestsAuth(source)
    with session.get(provider.url + "/api/v2/things", stream=True) as response:
        assert b"".join(response.iter_content(7)).startswith(b"{")
        assert evergrant.verdict_of(response) is not None
