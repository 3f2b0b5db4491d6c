"""What the library tells, as records of `logging` under the logger `evergrant`."""

from __future__ import annotations

import logging


def emit(lines: list[tuple[str, int, str, float]], lost: int) -> None:
    """Hands over events, each with the time at which it happened."""
    for target, level, text, at in lines:
        logger = logging.getLogger(target.replace("::", "."))
        if logger.isEnabledFor(level):
            record = logger.makeRecord(logger.name, level, "evergrant", 0, text, (), None)
            record.created = at
            record.msecs = int(at * 1000) % 1000
            logger.handle(record)
    if lost:
        logging.getLogger("evergrant").warning("%d events were lost, since nobody asked for them in time", lost)
