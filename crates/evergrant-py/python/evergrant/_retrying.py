"""Tokens for any other way to send a request."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ._diagnosis import attach

if TYPE_CHECKING:
    from typing_extensions import Concatenate, ParamSpec

    from ._source import TokenSource

    P = ParamSpec("P")
R = TypeVar("R")


def retrying(
    send: Callable[Concatenate[str, P], R], source: TokenSource, *, url: str | None = None, method: str = "POST"
) -> Callable[P, R]:
    """Calls `send(authorization, ...)` with the value of an `Authorization` field, and again with another where a refusal
    makes that safe and useful.

    `send` returns a response or raises an exception with a status (`status_code`, `status` or `code`) and `headers`; what
    remains of a refusal carries its verdict (`verdict_of`). It may be called several times for one call. Where the token
    goes is up to `send`; `url` says where that is, by default at the source's `upstream`. The method decides what may be
    repeated: a GET always, a POST only if the refusal shows that nothing was executed.
    """
    sender = source._source.sender(None if url is None else [url])
    place = url or source.upstream or ""

    @functools.wraps(send)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        exchange = sender.exchange(method, place, True, False)
        authorization = exchange.begin(True)
        while True:
            assert authorization is not None
            answer: Any
            try:
                answer = result = send(authorization, *args, **kwargs)
                error = None
            except Exception as raised:
                answer, error = raised, raised
            status, headers = _head(answer)
            if status is None or exchange.accept(status, headers):
                break
            authorization, verdict = exchange.judge(status, list(headers.items()), _body(answer), True)
            if authorization is None:
                attach(answer, verdict)
                break
        if error is not None:
            raise error
        return result

    return call


def _head(answer: Any) -> tuple[int | None, Any]:
    """Status and header fields of a response, or of an exception that stands for one."""
    answer = getattr(answer, "response", None) or answer
    names = ("status_code", "status", "code")
    status = next((value for name in names if isinstance(value := getattr(answer, name, None), int)), None)
    headers = getattr(answer, "headers", None)
    return status, {} if headers is None else headers


def _body(answer: Any) -> bytes:
    """The body, where it is at hand."""
    answer = getattr(answer, "response", None) or answer
    body = getattr(answer, "content", None) or getattr(answer, "body", None) or getattr(answer, "data", None)
    if isinstance(body, str):
        return body.encode()
    return body if isinstance(body, bytes) else b""
