"""The examples for functions in a cloud: as plain functions, and in a process that is frozen between two calls."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import SECOND, Provider, python

LAMBDA = "examples/aws-lambda"
AZURE = "examples/azure-functions"

#: What a function's host does: it loads the handler once, and then waits for one event after another.
HOST = """
import json, sys
from handler import handler

for line in sys.stdin:
    try:
        print(json.dumps(handler(json.loads(line), None)), flush=True)
    except Exception as error:
        print(json.dumps(repr(error)), flush=True)
"""


class Function:
    """A function in a process of its own, which can be frozen."""

    def __init__(self, folder: Path, provider: Provider) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOST],
            # A token of a fraction of a second's age is old, as one is that was there before a pause.
            env={**provider.environment(), "EVERGRANT_SETTLE": "200ms"},
            cwd=folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, event: dict[str, Any]) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(event) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


@pytest.fixture
def invoke(root: Path) -> Iterator[Callable[[Provider], Function]]:
    running: list[Function] = []

    def start(provider: Provider) -> Function:
        running.append(Function(root / LAMBDA, provider))
        return running[-1]

    yield start
    for function in running:
        function.process.kill()
        function.process.wait(10)


def refuses(provider: Provider, token: str) -> bool:
    """Does the API refuse this token?"""
    request = urllib.request.Request(f"{provider.url}/api/v2/probe", headers={"Authorization": f"Bearer {token}"})
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError as error:
        return error.code == 401
    return False


def tokens_of(provider: Provider) -> list[str]:
    settings = provider.settings().values()
    return [secret for secret in provider.secrets if secret not in settings]


def test_one_token_serves_all_invocations(provider: Provider, invoke: Callable[[Provider], Function]) -> None:
    function = invoke(provider)
    assert provider.mints == 0, "an environment that is only prepared asks for nothing"
    for size in (1, 2, 3):
        assert function.call({"pageSize": size})["query"] == f"pageSize={size}"
    assert provider.mints == 1


@pytest.mark.parametrize("ended", ["by time", "by the provider"])
def test_a_token_that_ends_while_the_process_is_frozen_fails_no_call(
    ended: str, provide: Callable[..., Provider], invoke: Callable[[Provider], Function]
) -> None:
    provider = provide(shape="rfc", tokens={"lifetime": (3 if ended == "by time" else 600) * SECOND})
    function = invoke(provider)
    assert function.call({})["ok"] is True
    before = tokens_of(provider)
    assert before
    function.process.send_signal(signal.SIGSTOP)
    if ended == "by the provider":
        # To the process this is what a pause looks like that no clock of its machine shows.
        provider.say("revoke_all")
    deadline = time.monotonic() + 30
    while not all(refuses(provider, token) for token in before):
        assert time.monotonic() < deadline, "the token does not end"
        time.sleep(0.05)
    function.process.send_signal(signal.SIGCONT)
    assert function.call({})["ok"] is True
    assert provider.mints > 1


def test_a_function_of_azure_answers(root: Path, provider: Provider) -> None:
    pytest.importorskip("azure.functions")
    program = """
import azure.functions as func
from function_app import app

[function] = app.get_functions()
request = func.HttpRequest("GET", "/api/users", params={"pageSize": "7"}, body=b"")
response = function.get_user_function()(request)
print(response.status_code, function.get_trigger().get_dict_repr()["route"], response.get_body().decode())
"""
    environment = {**provider.environment(), "PYTHONPATH": str(root / AZURE)}
    done = python(program, environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("200 users ") and '"query":"pageSize=7"' in done.stdout, done.stdout
    assert provider.mints == 1
