"""The examples and the guide's code run."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import Provider, python

ROOT = Path(__file__).parents[3]
EXAMPLES = sorted((ROOT / "examples/python").glob("*.py"))
PAGES = [
    ROOT / "README.md",
    *sorted((ROOT / "docs").rglob("*.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
    ROOT / "crates/evergrant-py/README.md",
]
BLOCKS = [
    pytest.param(block, id=f"{page.name} {number}")
    for page in PAGES
    for number, block in enumerate(re.findall(r"^```python\n(.*?)^```", page.read_text(), re.DOTALL | re.MULTILINE), 1)
]


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_an_example_runs(example: Path, provide: Callable[..., Provider]) -> None:
    provider = provide()
    command = [sys.executable, str(example)]
    done = subprocess.run(command, env=provider.environment(), capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert "200" in done.stdout or "None" in done.stdout or "[" in done.stdout, done.stdout


@pytest.mark.parametrize("block", BLOCKS)
def test_the_code_of_a_page_runs(block: str, provide: Callable[..., Provider]) -> None:
    done = python(block, provide().environment())
    assert (done.returncode, done.stderr) == (0, "")
