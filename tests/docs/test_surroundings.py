"""A page whose commands are not all installed is skipped, and the reason is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.docs.surroundings import commands_in, surroundings


def test_a_page_names_the_programs_that_its_commands_run() -> None:
    text = "`psql` is for later.\n\n```console\n$ curl -s http://127.0.0.1/ | sort\n```\n"

    assert commands_in(text) == ["curl"]


def test_a_page_is_skipped_where_a_program_is_missing(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = tmp_path / "page.md"
    page.write_text("```console\n$ curl -s http://127.0.0.1/\n```\n")
    monkeypatch.setattr(shutil, "which", lambda name: None)

    with (
        pytest.raises(pytest.skip.Exception, match="runs curl, which is not installed"),
        surroundings(page, tmp_path_factory),
    ):
        pass
