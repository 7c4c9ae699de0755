"""Where the user's modules are found."""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path

import pytest

from anyio_mio._supervisor.search_path import search_path

LIBRARY = sysconfig.get_path("stdlib")
INSTALLED = [LIBRARY, f"{LIBRARY}/lib-dynload", f"{LIBRARY}/site-packages"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", [str(tmp_path / "bin" / "anyio-mio")])
    return os.getcwd()


@pytest.mark.parametrize("first", ["", "{folder}", "{folder}/bin"])
def test_the_current_folder_comes_behind_the_library_and_before_what_is_installed(
    first: str, folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", [first.format(folder=folder), *INSTALLED])
    expected = [*INSTALLED[:2], folder, INSTALLED[2]]

    assert search_path() == expected
    monkeypatch.setattr(sys, "path", expected)
    assert search_path() == expected


def test_folders_that_the_user_put_first_stay_there(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "path", ["/mine", *INSTALLED, folder])

    assert search_path() == ["/mine", *INSTALLED, folder]
