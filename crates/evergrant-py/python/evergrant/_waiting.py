"""Waits for callers with an event loop: on a thread, and only if there is something to wait for.

The threads are our own. Those of asyncio are few, and everything else needs them, name resolution among it.
"""

from __future__ import annotations

import asyncio
import contextvars
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

from ._evergrant import Cancellation

if TYPE_CHECKING:
    from ._evergrant import Exchange, Verdict

R = TypeVar("R")

#: Whoever comes while so many wait has to wait for a thread too. That makes no wait longer: its time counts from the call.
_MOST = 32
_threads: ThreadPoolExecutor | None = None


async def on_a_thread(wait: Callable[[Cancellation], R]) -> R:
    """What `wait` waits for. If the task is cancelled, the thread is free at once."""
    global _threads
    cancellation = Cancellation()
    if _threads is None:
        _threads = ThreadPoolExecutor(_MOST, "evergrant-wait")
    # Records of `logging` are handed over on the thread that waits: they belong to the task.
    context = contextvars.copy_context()
    try:
        return await asyncio.get_running_loop().run_in_executor(_threads, context.run, wait, cancellation)
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
    ruling = exchange.judge_now(status, fields, body, can_send_again, url)
    return await on_a_thread(exchange.ruling) if ruling is None else ruling


def _after_fork_in_child() -> None:
    """The threads are the parent's. What they wait for is, too, so nobody here waits for them."""
    global _threads
    _threads = None


os.register_at_fork(after_in_child=_after_fork_in_child)
