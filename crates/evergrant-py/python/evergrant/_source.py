"""The source of a credential's tokens."""

from __future__ import annotations

import json
import os
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _evergrant

if TYPE_CHECKING:
    from typing import TypedDict

    from typing_extensions import Self, Unpack

    class Settings(TypedDict, total=False):
        """Settings, under the names that the program `evergrant` has for them too."""

        provider: str | None
        region: str | None
        issuer: str | None
        token_url: str | None
        upstream: str | None
        client_id: str | None
        client_secret: str | None
        client_secret_file: str | os.PathLike[str] | None
        client_secret_next: str | None
        client_secret_next_file: str | os.PathLike[str] | None
        refresh_token: str | None
        refresh_token_file: str | os.PathLike[str] | None
        grant: str | None
        client_auth: str | None
        scope: str | None
        audience: str | None
        resource: str | None
        store: str | None
        store_key: str | None
        store_key_file: str | os.PathLike[str] | None
        store_passphrase: str | None
        store_passphrase_file: str | os.PathLike[str] | None
        lease_ttl: float | str | None
        allow_volatile: bool | None
        slack: float | str | None
        settle: float | str | None
        skew_warn: float | str | None
        probe_path: str | None
        timeout: float | str | None
        token_timeout: float | str | None
        mint_budget: str | None
        ca_file: str | os.PathLike[str] | None
        allow_insecure_http: bool | None


class AccessToken(str):
    """The text of an access token, for one request and not for later. Its `repr` does not show it."""

    expires_in: float | None
    generation: int

    def __new__(cls, text: str, expires_in: float | None, generation: int) -> AccessToken:
        token = super().__new__(cls, text)
        token.expires_in = expires_in
        token.generation = generation
        return token

    def __reduce__(self) -> tuple[type[str], tuple[str]]:
        return str, (str(self),)

    def __repr__(self) -> str:
        return f"<evergrant.AccessToken [redacted], generation {self.generation}>"


class TokenSource:
    """Gives out one credential's token and keeps it working.

    It starts at its first use and in a forked child anew. Close it, or use it in a `with` or `async with` block.
    """

    def __init__(self, **settings: Unpack[Settings]) -> None:
        self._source = _evergrant.Source(settings)

    @classmethod
    def from_env(cls, **settings: Unpack[Settings]) -> Self:
        """A source that variables describe, such as `EVERGRANT_TOKEN_URL`; arguments win over them."""
        source = cls.__new__(cls)
        source._source = _evergrant.Source.from_environment(settings, os.environ)
        return source

    def token(self, *, min_remaining: float | None = None) -> AccessToken:
        """A token that works, with at least so many seconds left if the provider gives such tokens. Waits if need be."""
        token = self._source.token(min_remaining, True)
        assert token is not None
        return AccessToken(*token)

    async def token_async(self, *, min_remaining: float | None = None) -> AccessToken:
        """The same without holding up the event loop."""
        token = self._source.token(min_remaining, False)
        if token is None:
            from . import _waiting

            token = await _waiting.on_a_thread(lambda cancellation: self._source.token(min_remaining, True, cancellation))
        assert token is not None
        return AccessToken(*token)

    def status(self) -> dict[str, Any]:
        """A picture of this moment: tokens, counters, clocks. Without any secret."""
        status: dict[str, Any] = json.loads(self._source.status())
        return status

    @property
    def upstream(self) -> str | None:
        """The API that the tokens are for."""
        return self._source.upstream

    @property
    def is_closed(self) -> bool:
        """Was it closed?"""
        return self._source.is_closed

    def close(self) -> None:
        """Ends it. Whoever waits for it gets a `ClosedError`. A refresh token that is being spent is stored first."""
        self._source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        import asyncio

        await asyncio.to_thread(self.close)

    def __repr__(self) -> str:
        state = "closed" if self.is_closed else f"for {self.upstream}"
        return f"<evergrant.TokenSource {state}>"
