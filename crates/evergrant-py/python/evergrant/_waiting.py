"""Waits of an exchange for callers with an event loop: on a thread, and only if there is something to wait for."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._evergrant import Exchange, Verdict


async def begin(exchange: Exchange) -> str:
    """The `Authorization` of the first send."""
    authorization = exchange.begin(False)
    if authorization is None:
        try:
            authorization = await asyncio.to_thread(exchange.begin, True)
        except asyncio.CancelledError:
            exchange.cancel()
            raise
    assert authorization is not None
    return authorization


async def judge(
    exchange: Exchange, status: int, fields: Sequence[tuple[str, str]], body: bytes, can_send_again: bool, url: str
) -> tuple[str | None, Verdict | None]:
    """What to do with an answer that may be a refusal."""
    try:
        return await asyncio.to_thread(exchange.judge, status, fields, body, can_send_again, url)
    except asyncio.CancelledError:
        exchange.cancel()
        raise
