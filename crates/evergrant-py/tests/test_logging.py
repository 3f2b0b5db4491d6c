"""What the library tells reaches `logging`, and holds no secret."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

import evergrant
from conftest import SECOND, Provider, always


@contextmanager
def listening(handler: logging.Handler) -> Iterator[None]:
    """A handler of the program's, for all events."""
    logger = logging.getLogger("evergrant")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_events_are_records_of_their_own_time(
    provider: Provider, source: evergrant.TokenSource, caplog: pytest.LogCaptureFixture
) -> None:
    def is_minted(record: logging.LogRecord) -> bool:
        return record.levelno == logging.INFO and "token minted" in record.getMessage()

    with caplog.at_level(logging.DEBUG, "evergrant"):
        before, end = time.time(), time.monotonic() + 10
        while not any(map(is_minted, caplog.records)) and time.monotonic() < end:
            source.token()
    records = [record for record in caplog.records if record.name.startswith("evergrant.")]
    assert any(map(is_minted, records))
    assert all(before <= record.created <= time.time() for record in records)


def test_a_warning_tells_of_a_refused_client(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    with evergrant.TokenSource(**provider.settings(client_secret="wrong")) as source:
        end = time.monotonic() + 10
        while not caplog.records and time.monotonic() < end:
            with pytest.raises(evergrant.ClientRejectedError):
                source.token()
    assert any(record.levelno >= logging.WARNING for record in caplog.records)


def test_no_record_holds_a_secret(provider: Provider, caplog: pytest.LogCaptureFixture) -> None:
    import requests

    with caplog.at_level(logging.DEBUG, "evergrant"), evergrant.TokenSource(**provider.settings(settle=0.2)) as source:
        session = requests.Session()
        session.auth = evergrant.RequestsAuth(source)
        for event in ("revoke_all", {"token_fault": always({"status": [500, None]}, 1)}):
            session.get(provider.url + "/api/v2/things?code=hunter2")
            provider.say(event)
        provider.say("revoke_all")
        session.get(provider.url + "/api/v2/things?code=hunter2")
    said = "\n".join(record.getMessage() for record in caplog.records if record.name.startswith("evergrant"))
    assert "token minted" in said
    assert not any(secret in said for secret in [*provider.secrets, "hunter2"])


def test_a_handler_that_asks_for_a_token_hangs_nobody(provider: Provider, source: evergrant.TokenSource) -> None:
    seen: list[str] = []

    class Asking(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            seen.append(source.token())

    with listening(Asking()):
        threads = [threading.Thread(target=source.token) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
    assert seen


class Raising(logging.Handler):
    """A handler that raises something for each record."""

    def __init__(self, raises: BaseException) -> None:
        super().__init__()
        self.raises = raises

    def emit(self, record: logging.LogRecord) -> None:
        raise self.raises


@pytest.mark.parametrize("end", [KeyboardInterrupt, SystemExit])
def test_an_end_that_is_raised_while_events_are_handed_over_is_the_callers(
    source: evergrant.TokenSource, end: type[BaseException]
) -> None:
    with listening(Raising(end())), pytest.raises(end):
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            source.token()


def test_an_error_of_a_handler_fails_no_call_and_is_shown(
    source: evergrant.TokenSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    shown: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: shown.append(raised.exc_value))
    error, end = LookupError("the handler's own"), time.monotonic() + 10
    with listening(Raising(error)):
        while not shown and time.monotonic() < end:
            assert source.token()
    assert shown and all(one is error for one in shown)


def test_a_signal_in_a_wait_that_ends_well_is_not_lost_among_the_events(provider: Provider) -> None:
    def press(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, press)
    try:
        # Sooner than the answer, and later than the call begins; both within the time between two looks for signals.
        provider.say({"token_fault": always({"slow": SECOND // 25}, 1)})
        with evergrant.TokenSource(**provider.settings()) as source, pytest.raises(KeyboardInterrupt):
            source.status()
            signal.setitimer(signal.ITIMER_REAL, 0.02)
            source.token()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
