"""The example of a foreign descriptor sees the files that change."""

from __future__ import annotations

import sys
from pathlib import Path

import anyio
import pytest

import anyio_mio
from examples.watch_folder import names_in, watching

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="inotify is Linux's")


async def first_name(folder: Path) -> str:
    async with watching(str(folder)) as names:
        (folder / "notes.txt").write_text("changed")
        with anyio.fail_after(5):
            return await anext(names)


def test_the_name_of_a_file_that_was_written_is_reported(tmp_path: Path) -> None:
    assert anyio_mio.run(first_name, tmp_path) == "notes.txt"


def test_a_folder_that_does_not_exist_is_reported_by_name() -> None:
    with pytest.raises(FileNotFoundError, match="/does/not/exist"):
        anyio_mio.run(first_name, Path("/does/not/exist"))


def test_no_event_has_no_names() -> None:
    assert list(names_in(b"")) == []
