"""The Genesys Cloud SDK with a source attached."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import PureCloudPlatformClientV2 as sdk
import pytest
import urllib3
from PureCloudPlatformClientV2.rest import ApiException

import evergrant
from conftest import Provider, always
from evergrant import genesys


@pytest.fixture
def provider(provide: Callable[..., Provider]) -> Provider:
    return provide()


@pytest.fixture
def client(provider: Provider) -> Iterator[Any]:
    client = sdk.ApiClient(host=provider.url)
    source = evergrant.TokenSource(**provider.settings(provider="genesys", settle=0.2))
    assert genesys.attach(client, source) is source
    yield client
    source.close()


def call(client: Any, path: str = "/api/v2/things", method: str = "GET", **more: Any) -> int:
    client.call_api(path, method, auth_settings=["PureCloud OAuth"], **more)
    return int(client.last_response.status)


def test_an_api_of_the_sdk_works_through_revocations(provider: Provider, client: Any) -> None:
    assert sdk.TokensApi(client).get_tokens_me() is not None
    provider.say("revoke_all")
    assert sdk.TokensApi(client).get_tokens_me() is not None
    assert call(client, method="POST", body={"a": 1}, header_params={"Content-Type": "application/json"}) == 200
    assert provider.mints == 2 and provider.refused > 0


def test_a_refusal_that_remains_has_its_verdict(provider: Provider, client: Any) -> None:
    provider.say({"api_fault": {**always("missing_permission"), "route": None}})
    with pytest.raises(ApiException) as raised:
        call(client)
    assert raised.value.status == 403
    assert raised.value.verdict.cause == "missing_permission"
    assert provider.mints == 1


def test_a_missing_token_is_said_by_its_own_exception(provider: Provider) -> None:
    client = sdk.ApiClient(host=provider.url)
    with evergrant.TokenSource(**provider.settings(client_secret="wrong")) as source:
        genesys.attach(client, source)
        with pytest.raises(evergrant.ClientRejectedError) as raised:
            call(client)
    assert raised.value.verdict is not None


def test_the_sdks_own_log_holds_no_token(provider: Provider, client: Any, tmp_path: Any) -> None:
    configuration = sdk.configuration
    configuration.logger.log_level = sdk.logger.LogLevel.LTrace
    configuration.logger.log_request_body = True
    configuration.logger.log_file_path = str(tmp_path / "sdk.log")
    try:
        call(client)
    finally:
        configuration.logger.log_level = sdk.logger.LogLevel.LNone
    said = (tmp_path / "sdk.log").read_text()
    assert "/api/v2/things" in said
    assert not any(secret in said for secret in provider.secrets)


def test_other_failures_pass(provider: Provider, client: Any) -> None:
    with pytest.raises(ApiException) as raised:
        call(client, "/api/status/404")
    assert (raised.value.status, raised.value.verdict) == (404, None)


@pytest.mark.parametrize("lost", [urllib3.exceptions.ProtocolError("the replay is lost"), ApiException(status=0)])
def test_a_replay_without_an_answer_gives_the_refusal_before_it(
    provider: Provider, client: Any, lost: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert call(client) == 200
    provider.say("revoke_all")
    inner = client.get_http_client()._inner
    request, sends = inner.request, 0

    def lose_the_second(options: Any) -> Any:
        nonlocal sends
        sends += 1
        if sends == 2:
            raise lost
        return request(options)

    monkeypatch.setattr(inner, "request", lose_the_second)
    with pytest.raises(ApiException) as raised:
        call(client)
    assert (raised.value.status, sends) == (401, 2)
    assert raised.value.body and raised.value.verdict.evidence
    assert raised.value.__cause__ is lost


def test_a_request_without_any_answer_raises_what_the_sdk_raises(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose(options: Any) -> Any:
        raise ApiException(status=0, reason="nobody is there")

    monkeypatch.setattr(client.get_http_client()._inner, "request", lose)
    with pytest.raises(ApiException, match="nobody is there") as raised:
        call(client)
    assert raised.value.verdict is None
