"""The verdict on a response."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from ._evergrant import diagnose as _diagnose

if TYPE_CHECKING:
    from ._evergrant import Verdict
    from ._source import TokenSource

_NAME = "evergrant_verdict"


def attach(response: Any, verdict: Verdict | None) -> None:
    """Lets a response, or an exception, carry its verdict. One that takes no attributes goes without."""
    with contextlib.suppress(AttributeError):
        setattr(response, _NAME, verdict)


def verdict_of(response: Any) -> Verdict | None:
    """The verdict that an adapter attached to this response or exception; `None` if it is no refusal."""
    verdict: Verdict | None = getattr(response, _NAME, None)
    if verdict is None and isinstance(response, BaseException):
        verdict = getattr(response, "verdict", None)
    return verdict


def diagnose(response: Any, *, token: str | None = None, source: TokenSource | None = None) -> Verdict | None:
    """Why a response of `requests` or `httpx` is a refusal; `None` if it refuses nothing that has to do with credentials.

    For requests that were sent without an adapter. The token that the request carried is looked at and not kept. With the
    `source` that gave it the verdict knows of its age, its successors and what became of other requests.
    """
    verdict = verdict_of(response)
    if verdict is not None:
        return verdict
    request = response.request
    if token is None:
        kind, _, credentials = (request.headers.get("Authorization") or "").partition(" ")
        token = credentials if kind.lower() in ("bearer", "") else None
    headers = response.headers
    fields = headers.multi_items() if hasattr(headers, "multi_items") else list(headers.items())
    source_core = None if source is None else source._source
    return _diagnose(
        response.status_code,
        fields,
        response.content,
        request.method or "GET",
        str(request.url),
        token=token,
        source=source_core,
    )
