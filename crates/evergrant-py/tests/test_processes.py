"""A source and the life of processes: fork in the middle of a request, prefork servers, the end of an interpreter."""

from __future__ import annotations

import asyncio
import contextlib
import json
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import evergrant
from conftest import HANGS, REFRESH_TOKEN, SECOND, Provider, always, python, until, until_in_turns
from evergrant import _evergrant


def in_child(act: Callable[[], None], within: float = 20) -> None:
    """Runs something in a forked child that ends without the parent's exit handlers."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            signal.alarm(int(within))
            act()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_a_child_asks_for_a_token_of_its_own(provider: Provider, source: evergrant.TokenSource) -> None:
    mine = source.token()

    def act() -> None:
        theirs = source.token()
        assert theirs != mine
        source.close()

    in_child(act)
    assert source.token() == mine
    assert provider.mints == 2


def test_a_child_shares_the_token_of_a_store(provider: Provider, tmp_path: Path) -> None:
    store = f"file+plain:{tmp_path / 'tokens'}"
    settings = provider.settings(grant="refresh_token", refresh_token=REFRESH_TOKEN, store=store)
    with evergrant.TokenSource(**settings) as source:
        mine = source.token()

        def act() -> None:
            assert source.token() == mine

        in_child(act)
    assert provider.mints == 1


def test_a_fork_while_threads_wait_for_a_token_leaves_the_child_free(provider: Provider) -> None:
    provider.say({"token_fault": always({"slow": SECOND}, 1)})
    with evergrant.TokenSource(**provider.settings()) as source:
        tokens: list[str] = []
        threads = [threading.Thread(target=lambda: tokens.append(source.token())) for _ in range(8)]
        for thread in threads:
            thread.start()
        until(provider.is_asked)
        in_child(lambda: in_child(lambda: print(source.token().generation)))
        for thread in threads:
            thread.join(20)
        assert len(tokens) == 8 and len(set(tokens)) == 1


def test_a_fork_in_the_middle_of_a_request_leaves_parent_and_child_whole(
    provider: Provider, source: evergrant.TokenSource
) -> None:
    def send(authorization: str) -> str:
        in_child(lambda: call_again())
        return authorization

    def call_again() -> None:
        request = urllib.request.Request(provider.url + "/api/v2/x", headers={"Authorization": f"Bearer {source.token()}"})
        assert urllib.request.urlopen(request).status == 200

    assert evergrant.retrying(send, source)() == f"Bearer {source.token()}"


def test_a_child_has_threads_of_its_own_for_tasks_that_wait(provider: Provider) -> None:
    provider.say({"token_fault": always({"slow": SECOND}, 1)})

    async def main() -> None:
        async with evergrant.TokenSource(**provider.settings()) as source:
            waiting = asyncio.ensure_future(source.token_async())
            await until_in_turns(provider.is_asked)
            theirs = threading.Thread(target=lambda: asyncio.run(asyncio.wait_for(source.token_async(), 10)))
            in_child(lambda: (theirs.start(), theirs.join()) and None)
            assert await waiting

    asyncio.run(main())
    assert provider.mints == 2


def test_forks_while_threads_send_hang_nowhere(provider: Provider, source: evergrant.TokenSource) -> None:
    import requests

    ends = threading.Event()
    failures: list[int] = []

    def send() -> None:
        session = requests.Session()
        session.auth = evergrant.RequestsAuth(source)
        while not ends.is_set():
            status = session.get(provider.url + "/api/v2/things").status_code
            if status != 200:
                failures.append(status)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(15):
        in_child(lambda: [source.token(), source.status()] and None)
    ends.set()
    for thread in threads:
        thread.join(20)
    assert failures == []


def _work(number: int) -> int:
    assert _shared is not None
    return len(_shared.token()) * 0 + number


_shared: evergrant.TokenSource | None = None


def test_a_pool_of_forked_workers_works(source: evergrant.TokenSource) -> None:
    global _shared
    _shared = source
    source.token()
    with multiprocessing.get_context("fork").Pool(3) as pool:
        assert pool.map_async(_work, range(30)).get(30) == list(range(30))


def test_gunicorn_with_preload_serves(provider: Provider, tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text(
        "import os, requests, evergrant\n"
        "source = evergrant.TokenSource.from_env()\n"
        "session = requests.Session()\n"
        "session.auth = evergrant.RequestsAuth(source)\n"
        "if os.environ['USED_BEFORE'] == '1':\n"
        "    source.token()\n"
        "def app(environ, start_response):\n"
        "    answer = session.get(source.upstream + '/api/v2/x')\n"
        "    start_response(f'{answer.status_code} x', [('worker', str(os.getpid()))])\n"
        "    return [b'']\n"
    )
    for used_before in ("0", "1"):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{free.getsockname()[1]}"
        command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", "3", "--bind", address, "app:app"]
        environment = {**provider.environment(), "USED_BEFORE": used_before}
        server = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        try:
            workers: set[str] = set()
            end = time.monotonic() + 20
            with ThreadPoolExecutor(8) as pool:
                while len(workers) < 2 and time.monotonic() < end:
                    workers.update(pool.map(ask, [f"http://{address}"] * 16))
            assert len(workers) > 1
        finally:
            server.terminate()
            _, said = server.communicate(timeout=20)
        assert "panic" not in said and "Traceback" not in said, said


def ask(url: str) -> str:
    """One answer, once the server is there."""
    end = time.monotonic() + 20
    while True:
        try:
            with urllib.request.urlopen(url, timeout=20) as answer:
                return str(answer.headers["worker"])
        except ConnectionError:
            raise
        except OSError:
            if time.monotonic() > end:
                raise
            time.sleep(0.1)


ENDINGS = {
    "while a token request is under way": "source = evergrant.TokenSource.from_env()\nassert source._source.token(None, False) is None",
    "while a thread waits": "source = evergrant.TokenSource.from_env()\n"
    "def wait():\n    try: source.token()\n    except evergrant.ClosedError: pass\n"
    "threading.Thread(target=wait, daemon=True).start()\ntime.sleep(0.3)",
    "while an event loop waits": "source = evergrant.TokenSource.from_env()\n"
    "async def main():\n    try: await asyncio.wait_for(source.token_async(), 0.3)\n    except asyncio.TimeoutError: pass\n"
    "asyncio.run(main())",
    "by an exception": "source = evergrant.TokenSource.from_env()\nsource._source.token(None, False)\nraise SystemExit(0)",
    "with a source in a cycle": "source = evergrant.TokenSource.from_env()\nsource._source.token(None, False)\nsource.me = source",
}


@pytest.mark.parametrize("how", ENDINGS)
def test_an_interpreter_ends_at_once(provider: Provider, how: str) -> None:
    provider.say(HANGS)
    program = f"import asyncio, threading, time, evergrant\n{ENDINGS[how]}\n"
    began = time.monotonic()
    ended = python(program, provider.environment())
    assert (ended.returncode, ended.stderr) == (0, "")
    assert time.monotonic() - began < 10


#: How a token request comes to be under way, and who holds on to its source when the interpreter ends.
HELD = {
    "by a variable": "source = evergrant.TokenSource.from_env()\nbegin(source)\n",
    "by an adapter": "session = requests.Session()\n"
    "session.auth = evergrant.RequestsAuth(evergrant.TokenSource.from_env())\n"
    "begin_to_send(session.auth._sender)\n",
    "by a function": "get = evergrant.retrying(print, evergrant.TokenSource.from_env())\n"
    "begin_to_send(inspect.getclosurevars(get).nonlocals['sender'])\n",
    "by an SDK": "import PureCloudPlatformClientV2 as sdk, evergrant.genesys\n"
    "client = sdk.ApiClient(host=os.environ['EVERGRANT_UPSTREAM'])\n"
    "evergrant.genesys.attach(client)\n"
    "begin_to_send(client.get_http_client()._sender)\n",
    "by nobody": "begin(evergrant.TokenSource.from_env())\n",
}
BEGIN = (
    "import inspect, os, requests, evergrant\n"
    "def begin(source):\n    assert source._source.token(None, False) is None\n    is_under_way()\n"
    "def begin_to_send(sender):\n"
    "    assert sender.exchange('GET', os.environ['EVERGRANT_UPSTREAM'], True, False).begin(False) is None\n"
    "    is_under_way()\n"
    # The parent says when the provider has the request.
    "def is_under_way():\n    print('begun', flush=True)\n    assert input() == 'under way'\n"
)


@pytest.fixture
def rotating(provider: Provider, tmp_path: Path) -> dict[str, str]:
    """The environment of a program whose refresh token changes at each use."""
    provider.say({"token_fault": always({"slow": SECOND}, 1)})
    return {
        **provider.environment(),
        "EVERGRANT_GRANT": "refresh_token",
        "EVERGRANT_REFRESH_TOKEN": REFRESH_TOKEN,
        "EVERGRANT_STORE": f"file+plain:{tmp_path / 'tokens'}",
    }


def end_in_the_middle(provider: Provider, command: list[str], environment: dict[str, str]) -> None:
    """Runs a program that ends as soon as its token request is under way; its successor's text has to be stored."""
    pipe = subprocess.PIPE
    process = subprocess.Popen(command, env=environment, stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    until(provider.is_asked)
    assert process.communicate("under way\n", timeout=30) == ("", "")
    assert process.returncode == 0
    ended = python("import evergrant\nprint(evergrant.TokenSource.from_env().token().generation)", environment)
    assert (ended.stdout, ended.stderr) == ("1\n", "")
    assert provider.mints == 1


@pytest.mark.parametrize("held", HELD)
def test_an_interpreter_that_ends_stores_what_its_refresh_token_became(
    provider: Provider, rotating: dict[str, str], held: str
) -> None:
    end_in_the_middle(provider, [sys.executable, "-c", BEGIN + HELD[held]], rotating)


@pytest.mark.parametrize("is_imported", ["before", "after"])
@pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
def test_a_child_of_multiprocessing_that_ends_stores_what_its_refresh_token_became(
    provider: Provider, rotating: dict[str, str], method: str, is_imported: str, tmp_path: Path
) -> None:
    (tmp_path / "program.py").write_text(
        "import multiprocessing, os, sys\n"
        f"{'import evergrant' if is_imported == 'before' else ''}\n"
        "def work(standard_input):\n"
        "    import evergrant\n"
        "    source = evergrant.TokenSource.from_env()\n"
        "    assert source._source.token(None, False) is None\n"
        "    print('begun', flush=True)\n"
        "    assert standard_input.recv() == 'under way'\n"
        "if __name__ == '__main__':\n"
        f"    context = multiprocessing.get_context('{method}')\n"
        "    theirs, ours = context.Pipe(False)\n"
        "    child = context.Process(target=work, args=(theirs,))\n"
        "    child.start()\n"
        "    ours.send(input())\n"
        "    child.join()\n"
        "    sys.exit(child.exitcode)\n"
    )
    end_in_the_middle(provider, [sys.executable, str(tmp_path / "program.py")], rotating)


def test_a_source_that_is_let_go_stores_what_its_refresh_token_became_and_ends(
    provider: Provider, tmp_path: Path
) -> None:
    provider.say({"token_fault": always({"slow": SECOND // 2}, 1)})
    store = f"file+plain:{tmp_path / 'tokens'}"
    settings = provider.settings(grant="refresh_token", refresh_token=REFRESH_TOKEN, store=store)
    before = our_threads()
    source = evergrant.TokenSource(**settings)
    assert source._source.token(None, False) is None
    until(provider.is_asked)
    assert our_threads() - before
    del source
    until(lambda: not our_threads() - before)
    with evergrant.TokenSource(**settings) as again:
        assert again.token().generation == 1
    assert provider.mints == 1


def our_threads() -> set[str]:
    """The threads of sources, by their ids."""
    ours = set()
    for task in Path("/proc/self/task").iterdir():
        # One that has just ended has no name.
        with contextlib.suppress(OSError):
            if (task / "comm").read_text() == "evergrant\n":
                ours.add(task.name)
    return ours


def test_ctrl_c_ends_a_program_that_waits(provider: Provider) -> None:
    provider.say(HANGS)
    # Whoever runs the tests in the background ignores the signal, and children inherit that.
    program = (
        "import evergrant, signal\nsignal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "print('begun', flush=True)\nevergrant.TokenSource.from_env().token()"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=provider.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    until(provider.is_asked)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=10)
    assert said.rstrip().endswith("KeyboardInterrupt") and "panic" not in said


@pytest.mark.skipif(not hasattr(_evergrant, "panic_for_tests"), reason="a wheel that is shipped does not panic on demand")
def test_a_broken_rule_is_an_exception_and_a_log_line_without_a_panics_text() -> None:
    program = (
        "import evergrant, logging, sys\n"
        "logging.basicConfig(stream=sys.stdout, format='%(levelname)s %(name)s')\n"
        "try: evergrant._evergrant.panic_for_tests()\n"
        "except evergrant.InternalError as error: print(error)\n"
    )
    ended = python(program, dict(os.environ))
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == "ERROR evergrant\na rule of evergrant's own was broken; please report it, with the log\n"


def test_importing_the_package_imports_no_client(provider: Provider) -> None:
    clients = ["requests", "httpx", "aiohttp", "PureCloudPlatformClientV2", "asyncio"]
    program = f"import json, sys, evergrant\nprint(json.dumps([name for name in {clients} if name in sys.modules]))"
    assert json.loads(python(program, dict(os.environ)).stdout) == []


def test_a_notebook_waits_for_tokens_on_its_running_loop(provider: Provider) -> None:
    import nbformat
    from nbclient import NotebookClient

    cells = [
        "import evergrant, httpx\nsource = evergrant.TokenSource.from_env()\nsource.token().generation",
        "client = httpx.AsyncClient(auth=evergrant.HttpxAuth(source))\n"
        "(await client.get(source.upstream + '/api/v2/x')).status_code",
        "source.close()\nsource.is_closed",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    kernel = f"import os\nos.environ.update({ {k: v for k, v in provider.environment().items() if k.startswith('EVERGRANT')}!r})"
    notebook.cells.insert(0, nbformat.v4.new_code_cell(kernel))
    done = NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    outputs = [cell.outputs[-1]["data"]["text/plain"] for cell in done.cells[1:]]
    assert outputs == ["1", "200", "True"]
