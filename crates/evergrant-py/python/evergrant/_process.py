"""The end of a process, and its forks.

An interpreter that ends closes all sources, whoever holds them. A child of `multiprocessing` ends without the handlers of
`atexit`; it has finalizers instead, and clears them when it begins. So we ask to be told of that beginning, which is only
possible once `multiprocessing.util` is loaded: every such child has it before it gets its work, by the fork or by the way in
which it was started.
"""

from __future__ import annotations

import atexit
import os
import sys

from . import _evergrant

_is_told = False


def _close_all() -> None:
    _evergrant.close_all()


def _ask_to_be_told() -> None:
    """Lets a child of `multiprocessing` close all sources when it ends, be it about to begin or at work already."""
    global _is_told
    util = sys.modules.get("multiprocessing.util")
    if util is not None and not _is_told:
        _is_told = True
        util.register_after_fork(_close_all, _close_at_the_end)
        _close_at_the_end()


def _close_at_the_end(_: object = None) -> None:
    # After the program's own finalizers, and after its daemons and children.
    sys.modules["multiprocessing.util"].Finalize(None, _close_all, exitpriority=-100)


def _after_fork_in_child() -> None:
    _evergrant.after_fork_in_child()
    _ask_to_be_told()


atexit.register(_close_all)
os.register_at_fork(
    before=_evergrant.before_fork,
    after_in_parent=_evergrant.after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)
_ask_to_be_told()
