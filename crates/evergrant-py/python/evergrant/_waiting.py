"""Waits for callers with an event loop: on a thread, and only if there is something to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from ._evergrant import Cancellation

if TYPE_CHECKING:
    from ._evergrant import Exchange, Verdict

R = TypeVar("R")


async def on_a_thread(wait: Callable[[Cancellation], R]) -> R:
    """What `wait` waits for. If the task is cancelled, the thread is free at once."""
    cancellation = Cancellation()
    try:
        return await asyncio.to_thread(wait, cancellation)
    except asyncio.CancelledError:
        cancellation.cancel()
        raise


async def begin(exchange: Exchange) -> str:
    """The `Authorization` of the first send."""
    authorization = exchange.begin(False)
    if authorization is None:
        authorization = await on_a_thread(lambda cancellation: exchange.begin(True, cancellation))
    assert authorization is not None
    return authorization


async def judge(
    exchange: Exchange, status: int, fields: Sequence[tuple[str, str]], body: bytes, can_send_again: bool, url: str
) -> tuple[str | None, Verdict | None]:
    """What to do with an answer that may be a refusal."""
    return await on_a_thread(
        lambda cancellation: exchange.judge(status, fields, body, can_send_again, url, cancellation)
    )
