"""What every adapter has to endure: several lives of short tokens, with faults, and no failure that a caller sees."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any

import evergrant
from conftest import REFRESH_TOKEN, SECOND, Provider

#: A fifth of a token's life passes between a token's issue and the last node that knows it.
LIFE = 4
TURBULENT: dict[str, Any] = {
    "shape": "rfc",
    "tokens": {"lifetime": LIFE * SECOND},
    "clock": {"offset": -90 * SECOND},
    "nodes": [{"propagation": {"min": 0, "max": 800_000_000}} for _ in range(3)],
}
ROTATING: dict[str, Any] = {**TURBULENT, "tokens": {"lifetime": LIFE * SECOND, "revoke_old": True}}
LIVES = 3

#: Sends one request, by its method, and tells the status.
Send = Callable[[str, str], int]


def endure(provider: Provider, send: Send) -> list[tuple[str, int]]:
    """Sends until the lives are over, and revokes all tokens in the middle of one; the failures that were seen."""
    failures: list[tuple[str, int]] = []
    end = time.monotonic() + LIVES * LIFE
    revoke_at = time.monotonic() + 1.5 * LIFE
    turn = 0
    while time.monotonic() < end:
        turn += 1
        method = "POST" if turn % 3 == 0 else "GET"
        status = send(method, f"{provider.url}/api/v2/things/{turn}")
        if status != 200:
            failures.append((method, status))
        if time.monotonic() > revoke_at:
            revoke_at = end
            provider.say("revoke_all")
        time.sleep(0.01)
    return failures


def run(provider: Provider, is_rotating: bool, use: Callable[[evergrant.TokenSource], Any]) -> None:
    """Lets an adapter endure it. `use` gives a function that sends, or a coroutine function, and is closed at the end."""
    more = {"grant": "refresh_token", "refresh_token": REFRESH_TOKEN, "allow_volatile": True} if is_rotating else {}
    with evergrant.TokenSource(**provider.settings(**more)) as source:
        failures = endure(provider, use(source))
        why = source.status()["recent_verdicts"]
    assert failures == [], why
    assert provider.mints > LIVES, "there was nothing to endure"
    assert provider.refused > 0, "there was nothing to endure"
    assert all(effect["executions"] == 1 for effect in provider.ledger["effects"].values())


def blocking(use: Callable[[evergrant.TokenSource], Any]) -> Callable[[evergrant.TokenSource], Send]:
    """A coroutine function's requests, one after the other on a loop of their own."""

    def with_loop(source: evergrant.TokenSource) -> Send:
        loop = asyncio.new_event_loop()
        send = loop.run_until_complete(use(source))
        return lambda method, url: loop.run_until_complete(send(method, url))

    return with_loop
