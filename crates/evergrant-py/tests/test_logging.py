"""What the library tells reaches `logging`, and holds no secret."""

from __future__ import annotations

import logging
import threading
import time

import pytest

import evergrant
from conftest import Provider, always


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

    logger, handler = logging.getLogger("evergrant"), Asking()
    logger.addHandler(handler)
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        threads = [threading.Thread(target=source.token) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert seen
