"""Tokens for any other way to send a request."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

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

    `send` returns a response or raises an exception with a status (`status_code`, `status` or `code`) and `headers`, of its
    own or of its `response`; what remains of a refusal carries its verdict (`verdict_of`). It may be called several times
    for one call; if a later call gets no answer, the refusal before it is what remains. Where the token
    goes is up to `send`; `url` says where that is, by default at the source's `upstream`. The method decides what may be
    repeated: a GET always, a POST only if the refusal shows that nothing was executed.
    """
    sender = source._source.sender(None if url is None else [url])
    place = url or source.upstream or ""

    @functools.wraps(send)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        exchange = sender.exchange(method, place, True, False)
        authorization = exchange.begin(True)
        refused: _Outcome[R] | None = None
        while True:
            assert authorization is not None
            outcome = _Outcome.of(send, authorization, *args, **kwargs)
            if outcome.status is None and outcome.error is not None and refused is not None:
                # A replay without an answer: the refusal is the better news.
                attach(refused.shown, exchange.verdict_on_last_refusal())
                return refused.give(outcome.error)
            if outcome.status is None or exchange.accept(outcome.status, outcome.headers):
                return outcome.give()
            fields = list(outcome.headers.items())
            authorization, verdict = exchange.judge(outcome.status, fields, outcome.body(), True)
            if authorization is None:
                attach(outcome.shown, verdict)
                return outcome.give()
            refused = outcome

    return call


class _Outcome(Generic[R]):
    """What came of a send: what it returned, or the exception that it raised, and what either shows of an HTTP answer."""

    def __init__(self, result: R | None, error: Exception | None) -> None:
        self.result = result
        self.error = error
        self.shown: Any = result if error is None else error
        # A response that stands for a refusal may be false (that of `requests` is), and what an exception calls its
        # response may be the parsed body.
        response = getattr(self.shown, "response", None)
        self.answer = self.shown if _status(response) is None else response
        self.status = _status(self.answer)
        headers = getattr(self.answer, "headers", None)
        self.headers: Any = {} if headers is None else headers

    @staticmethod
    def of(send: Callable[..., R], *args: Any, **kwargs: Any) -> _Outcome[R]:
        """Sends."""
        try:
            return _Outcome(send(*args, **kwargs), None)
        except Exception as error:
            return _Outcome(None, error)

    def give(self, lost: Exception | None = None) -> R:
        """Hands it to the caller, with what became of a later send that was lost."""
        if self.error is None:
            return cast("R", self.result)
        if lost is not None:
            raise self.error from lost
        raise self.error

    def body(self) -> bytes:
        """The body, where it is at hand."""
        for name in ("content", "body", "data"):
            try:
                body = getattr(self.answer, name, None)
            except Exception:
                # A response that streams, and that nobody has read or can read.
                continue
            if body:
                return body.encode() if isinstance(body, str) else body if isinstance(body, bytes) else b""
        return b""


def _status(answer: Any) -> int | None:
    """The HTTP status. Other protocols and clients have codes of their own, such as 1006 of a web socket."""
    values = (getattr(answer, name, None) for name in ("status_code", "status", "code"))
    return next((value for value in values if isinstance(value, int) and 100 <= value <= 599), None)
