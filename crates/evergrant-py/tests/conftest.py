"""The simulated provider as a process, and sources that know it."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import evergrant

SECOND = 1_000_000_000
PATIENCE = 30.0
PACE = 0.01
CLIENT = {"client_id": "sim-client", "client_secret": "sim-secret-6b1d0c57e2"}
REFRESH_TOKEN = "sim-refresh-0-93fa41c8de"


class Provider:
    """A running provider."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.process = subprocess.Popen(
            [os.environ["EVERGRANT_TEST_PROVIDER"]], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        urls = self.say(config)
        self.url: str = urls["url"]
        self.token_url: str = urls["token_url"]

    def say(self, line: Any) -> Any:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(json.dumps(line) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    @property
    def ledger(self) -> dict[str, Any]:
        ledger: dict[str, Any] = self.say("ledger")
        return ledger

    @property
    def refused(self) -> int:
        """How many requests the API refused with a 401."""
        return sum(self.ledger["api"]["refused"].values())

    @property
    def mints(self) -> int:
        """How many token requests it saw."""
        requests: int = self.ledger["token"]["requests"]
        return requests

    def is_asked(self) -> bool:
        """Is a token request under way?"""
        in_flight: int = self.ledger["token"]["in_flight"]
        return in_flight > 0

    @property
    def secrets(self) -> list[str]:
        secrets: list[str] = self.say("secrets")
        return secrets

    def settings(self, **more: Any) -> dict[str, Any]:
        """The settings of a source for it."""
        return {"token_url": self.token_url, "upstream": self.url, **CLIENT, **more}

    def environment(self) -> dict[str, str]:
        """The same as variables for another process."""
        settings = {f"EVERGRANT_{name.upper()}": value for name, value in self.settings().items()}
        return {**os.environ, **settings}

    def stop(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(10)


@pytest.fixture
def provide() -> Iterator[Callable[..., Provider]]:
    """Starts providers, each with its configuration."""
    running: list[Provider] = []

    def start(**config: Any) -> Provider:
        running.append(Provider(config))
        return running[-1]

    yield start
    for provider in running:
        provider.stop()


@pytest.fixture
def provider(provide: Callable[..., Provider]) -> Provider:
    """A provider without faults, in the manner of the RFCs."""
    return provide(shape="rfc")


@pytest.fixture
def source(provider: Provider) -> Iterator[evergrant.TokenSource]:
    with evergrant.TokenSource(**provider.settings()) as source:
        yield source


def always(fault: Any, times: int | None = None) -> dict[str, Any]:
    """A rule for a fault that strikes each time, or so many times."""
    return {"fault": fault, "chance": {"permille": 1000, "times": times}}


#: The token endpoint takes a request and says nothing.
HANGS = {"token_fault": always({"hang": 60 * SECOND})}


def until(is_so: Callable[[], object]) -> None:
    """Waits until something is so, for half a minute at most."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, "it does not become so"
        time.sleep(PACE)


async def until_in_turns(is_so: Callable[[], object]) -> None:
    """The same on an event loop, whose tasks go on meanwhile."""
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline, "it does not become so"
        await asyncio.sleep(PACE)


def python(program: str, environment: dict[str, str], timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs a program in an interpreter of its own."""
    return subprocess.run(
        [sys.executable, "-X", "faulthandler", "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@pytest.fixture
def root() -> Path:
    """The root of the repository."""
    return Path(__file__).parents[3]
