"""Exceptions, by whose fault it is and what helps.

Each carries the `verdict` if there is one, and in `retry_after` the seconds after which it makes sense to ask again. None
holds a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._evergrant import Verdict


class EvergrantError(Exception):
    """Something that evergrant could not do."""

    verdict: Verdict | None = None
    retry_after: float | None = None

    def __str__(self) -> str:
        message = super().__str__()
        return f"{message}; {self.verdict.remedy}" if self.verdict else message


class ConfigError(EvergrantError, ValueError):
    """A setting cannot be used. The program's configuration has to change."""


class ForeignOriginError(EvergrantError):
    """The request would have carried the token to a place that it is not for. It was not sent."""


class ClosedError(EvergrantError):
    """The token source was closed, perhaps while somebody waited for it."""


class NoTokenError(EvergrantError):
    """There is no token, and waiting longer does not help."""


class ClientRejectedError(NoTokenError):
    """The token endpoint refuses the client: its id, its secret, its grant or its scope."""


class LoginRequiredError(NoTokenError):
    """The grant has ended; a person has to log in again."""


class UnreachableError(NoTokenError, ConnectionError):
    """The token endpoint cannot be reached."""


class TokenEndpointError(NoTokenError):
    """The token endpoint answers, but not with a token. The provider's fault, as a rule, and a passing one."""


class NoTokenInTimeError(NoTokenError, TimeoutError):
    """No token came in time."""


class MintBudgetError(NoTokenError):
    """As many tokens were requested as the mint budget allows: something ends them early, or asks for too many."""


class InternalError(EvergrantError):
    """A rule of evergrant's own was broken. Please report it."""
