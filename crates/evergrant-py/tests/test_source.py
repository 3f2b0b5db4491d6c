"""A source by itself: what it gives, what it refuses, and what it raises."""

from __future__ import annotations

import ast
import asyncio
import copy
import os
import pickle
import re
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import evergrant
from adapters import ADAPTERS
from conftest import CLIENT, HANGS, REFRESH_TOKEN, SECOND, Provider, always, until, until_in_turns
from evergrant import _evergrant, _waiting


def test_a_token_is_text_and_tells_its_life(provider: Provider, source: evergrant.TokenSource) -> None:
    token = source.token()
    assert token in provider.secrets
    assert token.generation == 1
    assert token.expires_in is not None and 86_000 < token.expires_in <= 86_400
    assert source.token() == token
    assert provider.mints == 1
    assert source.status()["provider"] == "oauth2"


def test_a_token_shows_itself_only_when_it_is_used(provider: Provider, source: evergrant.TokenSource) -> None:
    token = source.token()
    assert f"Bearer {token}".endswith(provider.secrets[-1]) or str(token) in provider.secrets
    assert token not in repr(token) + repr(source) + repr([token])


def test_waiting_threads_share_one_token_request(provider: Provider, source: evergrant.TokenSource) -> None:
    tokens: list[str] = []
    threads = [threading.Thread(target=lambda: tokens.append(source.token())) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 16 and len(set(tokens)) == 1
    assert provider.mints == 1


def test_an_event_loop_goes_on_while_a_token_is_waited_for(provider: Provider) -> None:
    provider.say({"token_fault": always({"slow": SECOND // 2}, 1)})

    async def main() -> int:
        async with evergrant.TokenSource(**provider.settings()) as source:
            waiting = asyncio.ensure_future(source.token_async())
            ticks = 0
            while not waiting.done():
                ticks += 1
                await asyncio.sleep(0.01)
            assert await waiting == await source.token_async()
        return ticks

    assert asyncio.run(main()) > 10


def test_a_source_works_for_the_loops_of_several_threads(source: evergrant.TokenSource) -> None:
    tokens: list[str] = []
    threads = [
        threading.Thread(target=lambda: tokens.append(asyncio.run(source.token_async()))) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(tokens) == 4 and len(set(tokens)) == 1


def test_a_cancelled_task_frees_its_thread(provider: Provider) -> None:
    provider.say(HANGS)

    async def main() -> None:
        async with evergrant.TokenSource(**provider.settings()) as source:
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(source.token_async(), 0.2)

    began = time.monotonic()
    asyncio.run(main())
    assert time.monotonic() - began < 5


def test_many_waiting_tasks_wait_no_longer_than_asked(provider: Provider) -> None:
    provider.say(HANGS)

    async def main() -> list[Any]:
        async with evergrant.TokenSource(**provider.settings(timeout=1)) as source:
            waits = [source.token_async(min_remaining=1 if turn % 2 else None) for turn in range(160)]
            return await asyncio.gather(*waits, return_exceptions=True)

    began = time.monotonic()
    assert {type(error) for error in asyncio.run(main())} == {evergrant.NoTokenInTimeError}
    assert time.monotonic() - began < 4


def test_waiting_tasks_leave_the_threads_of_asyncio_to_others(provider: Provider) -> None:
    provider.say(HANGS)

    async def main() -> int:
        async with evergrant.TokenSource(**provider.settings(timeout=5)) as source:
            waits = [asyncio.ensure_future(source.token_async()) for _ in range(40)]
            await until_in_turns(provider.is_asked)
            own = await asyncio.wait_for(asyncio.to_thread(lambda: 7), 3)
            for wait in waits:
                wait.cancel()
            await asyncio.gather(*waits, return_exceptions=True)
        return own

    assert asyncio.run(main()) == 7


@pytest.mark.parametrize("adapter", ["httpx, async", "aiohttp"])
def test_a_task_whose_answer_needs_no_wait_uses_no_thread(
    provider: Provider, source: evergrant.TokenSource, adapter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waits(_: object) -> None:
        raise AssertionError("there is nothing to wait for")

    source.token()
    monkeypatch.setattr(_waiting, "on_a_thread", waits)
    provider.say({"api_fault": {**always("missing_permission"), "route": None}})
    answer = ADAPTERS[adapter](source)("GET", provider.url + "/api/v2/things")
    assert answer.status == 403 and answer.verdict is not None


def test_ctrl_c_ends_a_wait(provider: Provider) -> None:
    provider.say(HANGS)
    # Whoever runs the tests in the background ignores the signal.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with evergrant.TokenSource(**provider.settings()) as source:
        timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
        timer.start()
        began = time.monotonic()
        with pytest.raises(KeyboardInterrupt):
            source.token()
        assert time.monotonic() - began < 5


def test_a_closed_source_raises(provider: Provider) -> None:
    source = evergrant.TokenSource(**provider.settings())
    auth_made_before = evergrant.RequestsAuth(source)
    source.token()
    source.close()
    source.close()
    assert source.is_closed
    with pytest.raises(evergrant.ClosedError, match="closed"):
        source.token()
    with pytest.raises(evergrant.ClosedError):
        auth_made_before._sender.exchange("GET", provider.url, True, False)


def test_closing_ends_the_waits_of_other_threads(provider: Provider) -> None:
    provider.say(HANGS)
    source = evergrant.TokenSource(**provider.settings())
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            source.token()
        except evergrant.EvergrantError as error:
            raised.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    until(provider.is_asked)
    source.close()
    thread.join(5)
    assert [type(error) for error in raised] == [evergrant.ClosedError]


def test_closing_waits_until_a_spent_refresh_token_has_its_successor(provider: Provider, tmp_path: Path) -> None:
    provider.say({"token_fault": always({"slow": SECOND}, 1)})
    store = f"file+plain:{tmp_path / 'tokens'}"
    settings = provider.settings(grant="refresh_token", refresh_token=REFRESH_TOKEN, store=store)
    source = evergrant.TokenSource(**settings)
    threading.Thread(target=lambda: pytest.raises(evergrant.ClosedError, source.token)).start()
    until(provider.is_asked)
    source.close()
    with evergrant.TokenSource(**settings) as again:
        assert again.token().generation == 1
    assert provider.mints == 1


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"client_id": 7}, "client_id must be a str, not int"),
        ({"client_secret": b"bytes"}, "client_secret must be a str, not bytes"),
        ({"timeout": [1]}, "timeout must be a number of seconds, not list"),
        ({"timeout": True}, "timeout must be a number of seconds, not bool"),
        ({"allow_insecure_http": 1.5}, "allow_insecure_http must be a bool, not float"),
        ({"ca_file": 3}, "ca_file must be a path, not int"),
        ({"clint_id": "x"}, "no setting `clint_id`"),
    ],
)
def test_a_wrong_type_is_named(provider: Provider, settings: dict[str, Any], names: str) -> None:
    with pytest.raises(TypeError, match=names):
        evergrant.TokenSource(**provider.settings(**settings))


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"client_id": None}, "client_id"),
        ({"client_secret": None}, "secret"),
        ({"client_secret": "copied \n"}, "client_secret: it ends with white space"),
        ({"token_url": "http://provider.example/token"}, "token_url"),
        ({"token_url": "nonsense"}, "token_url"),
        ({"provider": "keycloak"}, "provider"),
        ({"region": "us-east-1.mypurecloud.com"}, "region"),
        ({"grant": "password"}, "grant"),
        ({"client_auth": "digest"}, "client_auth"),
        ({"timeout": 0}, "timeout"),
        ({"timeout": "30"}, "timeout"),
        ({"mint_budget": "10"}, "mint_budget"),
        ({"store": "file:tokens"}, "store"),
        ({"store": "redis://cache.example"}, "store"),
        ({"client_secret_file": "absent"}, "client_secret"),
        ({"grant": "refresh_token", "refresh_token": "r"}, "store"),
        ({"client_auth": "tls_client_auth"}, "client_auth"),
        ({"client_secret": None, "client_secret_next": "s"}, "client_secret_next"),
        ({"client_secret_next": "s", "client_secret_next_file": "f"}, "both client_secret_next and client_secret_next_file"),
        ({"client_secret_next_file": "absent"}, "client_secret_next_file"),
    ],
)
def test_a_value_that_cannot_be_used_is_named(provider: Provider, settings: dict[str, Any], names: str) -> None:
    with pytest.raises(evergrant.ConfigError, match=names) as raised:
        evergrant.TokenSource(**provider.settings(**settings))
    assert isinstance(raised.value, ValueError)
    assert not any(secret in str(raised.value) for secret in provider.secrets)


def test_settings_are_those_of_the_program(root: Path) -> None:
    hints = names_of_typed_settings()
    assert hints == _evergrant.setting_names()
    table = (root / "crates/evergrant-cli/src/settings/catalog/table.rs").read_text()
    for name in hints:
        names = {name.replace("_", "-"), name.removesuffix("_file").replace("_", "-")}
        assert any(f'"{name}"' in table for name in names), name


#: What says nothing of a source, or is needed only by a grant or client authentication that `ConfigError` refuses itself.
NOT_OF_A_SOURCE = """
    access_token private_key key_id signing_alg subject assertion_audience assertion client_assertion authorize_url device_url
    redirect_uri listen admin_listen callers admin_callers caller_secret allowed_host allow_origin verdict_header broker
    rate_limited rate_limit caller_weights upstream_timeout log
""".split()


def variables_of_the_program(root: Path) -> list[str]:
    table = (root / "crates/evergrant-cli/src/settings/catalog/table.rs").read_text()
    specs = re.findall(r'(?:text|list|switch|secret)\(\s*Setting::\w+,\s*"([a-z-]+)"', table)
    names = [spec.replace("-", "_") for spec in specs]
    assert "store_key_in" in names and len(names) > 50
    known = {*_evergrant.setting_names(), *NOT_OF_A_SOURCE}
    return ["EVERGRANT_CONFIG", "EVERGRANT_PROFILE"] + [f"EVERGRANT_{name.upper()}" for name in names if name not in known]


def test_a_variable_that_only_the_program_honours_is_refused(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, root: Path
) -> None:
    for name, value in provider.settings().items():
        monkeypatch.setenv(f"EVERGRANT_{name.upper()}", value)
    variables = variables_of_the_program(root)
    assert "EVERGRANT_TOKEN_FIELD" in variables
    for variable in variables:
        monkeypatch.setenv(variable, "keyring")
        with pytest.raises(evergrant.ConfigError, match=f"cannot use {variable}: ") as raised:
            evergrant.TokenSource.from_env()
        assert "keyring" not in str(raised.value).replace("the keyring", "")
        monkeypatch.setenv(variable, "")
        evergrant.TokenSource.from_env().close()


def test_an_argument_wins_over_a_variable_that_only_the_program_honours(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EVERGRANT_CLIENT_SECRET_IN", "keyring")
    monkeypatch.setenv("EVERGRANT_CLIENT_SECRET_NEXT_IN", "keyring:next")
    with evergrant.TokenSource.from_env(**provider.settings(client_secret_next="next")) as source:
        assert source.token().generation == 1


@pytest.mark.parametrize("is_file", [False, True], ids=["given", "in a file"])
def test_the_next_secret_is_shown_where_the_other_is_refused(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, is_file: bool, tmp_path: Path
) -> None:
    secret = CLIENT["client_secret"]
    if is_file:
        (tmp_path / "next").write_text(secret + "\n")
        monkeypatch.setenv("EVERGRANT_CLIENT_SECRET_NEXT_FILE", str(tmp_path / "next"))
    else:
        monkeypatch.setenv("EVERGRANT_CLIENT_SECRET_NEXT", secret)
    with evergrant.TokenSource.from_env(**provider.settings(client_secret="wrong")) as source:
        assert source.token().generation == 1
    assert provider.mints == 2


def names_of_typed_settings() -> list[str]:
    text = Path(evergrant.__file__).with_name("_source.py").read_text()
    body = text.split("class Settings(TypedDict, total=False):")[1].split("class AccessToken")[0]
    return [line.split(":")[0].strip() for line in body.splitlines() if "| None" in line]


def test_the_package_is_python_3_9(root: Path) -> None:
    for file in Path(evergrant.__file__).parent.glob("*.py"):
        ast.parse(file.read_text(), feature_version=(3, 9))


def test_variables_describe_a_source(
    provider: Provider, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    secret = tmp_path / "secret"
    secret.write_text(provider.settings()["client_secret"] + "\n")
    monkeypatch.setenv("EVERGRANT_TOKEN_URL", provider.token_url)
    monkeypatch.setenv("EVERGRANT_UPSTREAM", provider.url)
    monkeypatch.setenv("EVERGRANT_TIMEOUT", "5s")
    monkeypatch.setenv("EVERGRANT_CLIENT_SECRET_FILE", str(secret))
    monkeypatch.setenv("EVERGRANT_SCOPE", "")
    monkeypatch.setenv("GENESYSCLOUD_OAUTHCLIENT_ID", "another tool's")
    with evergrant.TokenSource.from_env(client_id="sim-client") as source:
        assert source.token().generation == 1
    monkeypatch.setenv("GENESYSCLOUD_OAUTHCLIENT_ID", "sim-client")
    with evergrant.TokenSource.from_env() as source:
        assert source.upstream == provider.url


def test_an_api_may_have_a_path(provider: Provider) -> None:
    with evergrant.TokenSource(**provider.settings(upstream=provider.url + "/api/")) as source:
        assert source.upstream == provider.url + "/api"
        assert evergrant.RequestsAuth(source)._sender.allows(provider.url + "/elsewhere")
        assert source.token()


def test_a_rejected_client_is_told_so(provider: Provider) -> None:
    with evergrant.TokenSource(**provider.settings(client_secret="wrong")) as source:
        with pytest.raises(evergrant.ClientRejectedError) as raised:
            source.token()
    assert raised.value.verdict is not None
    assert raised.value.verdict.cause == "client_rejected"
    assert raised.value.verdict.fault == "client_config"
    assert raised.value.verdict.remedy in str(raised.value)
    assert evergrant.verdict_of(raised.value) is raised.value.verdict


def test_an_exception_reaches_another_process_whole(provider: Provider) -> None:
    with evergrant.TokenSource(**provider.settings(client_secret="wrong")) as source:
        with pytest.raises(evergrant.ClientRejectedError) as raised:
            source.token()
    copied = pickle.loads(pickle.dumps(raised.value))
    assert type(copied) is evergrant.ClientRejectedError
    assert (copied.verdict, str(copied)) == (raised.value.verdict, str(raised.value))
    assert copied.verdict.evidence == raised.value.verdict.evidence != ()


def test_a_copy_of_a_token_is_its_text(source: evergrant.TokenSource) -> None:
    token = source.token()
    assert pickle.loads(pickle.dumps(token)) == copy.deepcopy(token) == token


def test_an_endpoint_that_is_not_there_is_unreachable(provider: Provider) -> None:
    settings = provider.settings(token_url="http://127.0.0.1:9/token", timeout=1)
    with evergrant.TokenSource(**settings) as source:
        with pytest.raises(evergrant.UnreachableError) as raised:
            source.token()
    assert isinstance(raised.value, ConnectionError)
    assert raised.value.verdict is not None and raised.value.verdict.fault == "network"


def test_an_endpoint_that_says_nothing_is_not_waited_for_longer_than_asked(provider: Provider) -> None:
    provider.say(HANGS)
    with evergrant.TokenSource(**provider.settings(timeout=0.5)) as source:
        with pytest.raises(evergrant.NoTokenInTimeError) as raised:
            source.token()
    assert isinstance(raised.value, TimeoutError)


def test_a_spent_refresh_token_asks_for_a_login(provider: Provider) -> None:
    settings = provider.settings(grant="refresh_token", refresh_token="spent", allow_volatile=True)
    with evergrant.TokenSource(**settings) as source:
        with pytest.raises(evergrant.NoTokenError) as raised:
            source.token()
    assert raised.value.verdict is not None
    assert isinstance(raised.value, (evergrant.LoginRequiredError, evergrant.ClientRejectedError))


def test_what_a_gateway_gives_other_tools_is_no_secret_and_the_error_says_what_to_do(
    provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As a program under `evergrant exec --gateway` finds them.
    monkeypatch.setenv("GENESYSCLOUD_OAUTHCLIENT_ID", "sim-client")
    monkeypatch.setenv("GENESYSCLOUD_OAUTHCLIENT_SECRET", "egs1_for-that-gateway-only")
    monkeypatch.setenv("EVERGRANT_TOKEN_URL", provider.token_url)
    monkeypatch.setenv("EVERGRANT_UPSTREAM", provider.url)
    with pytest.raises(evergrant.ConfigError, match="EVERGRANT_GATEWAY_URL"):
        evergrant.TokenSource.from_env()
    with evergrant.TokenSource.from_env(**CLIENT) as source:
        assert source.token().generation == 1
    assert provider.mints == 1
