"""Keeps OAuth 2.0 access tokens working, and explains every 401.

A `TokenSource` gives out one credential's token and renews it in time. `RequestsAuth`, `HttpxAuth`,
`evergrant.aiohttp.middleware` and `evergrant.genesys.attach` put that token into requests, send a refused request again
where that is safe and useful, and attach to every refusal that remains the verdict that explains it: `verdict_of(response)`.

An adapter imports the client that it is for at its first use; this package needs none of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _process  # It closes all sources when the process ends.
from ._diagnosis import diagnose, verdict_of
from ._errors import (
    ClientRejectedError,
    ClosedError,
    ConfigError,
    EvergrantError,
    ForeignOriginError,
    InternalError,
    LoginRequiredError,
    MintBudgetError,
    NoTokenError,
    NoTokenInTimeError,
    TokenEndpointError,
    UnreachableError,
)
from ._evergrant import Verdict, __version__
from ._retrying import retrying
from ._source import AccessToken, TokenSource

if TYPE_CHECKING:
    from ._httpx import HttpxAuth
    from ._requests import RequestsAuth

__all__ = [
    "AccessToken",
    "ClientRejectedError",
    "ClosedError",
    "ConfigError",
    "EvergrantError",
    "ForeignOriginError",
    "HttpxAuth",
    "InternalError",
    "LoginRequiredError",
    "MintBudgetError",
    "NoTokenError",
    "NoTokenInTimeError",
    "RequestsAuth",
    "TokenEndpointError",
    "TokenSource",
    "UnreachableError",
    "Verdict",
    "__version__",
    "diagnose",
    "retrying",
    "verdict_of",
]


def __getattr__(name: str) -> Any:
    if name == "RequestsAuth":
        from ._requests import RequestsAuth

        return RequestsAuth
    if name == "HttpxAuth":
        from ._httpx import HttpxAuth

        return HttpxAuth
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
