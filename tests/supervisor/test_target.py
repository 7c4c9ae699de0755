"""Targets of `anyio-mio run` and `serve`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from anyio_mio._supervisor.application import load_target
from anyio_mio._supervisor.configuration import ApplicationOptions
from anyio_mio._supervisor.handlers import echo
from anyio_mio._supervisor.target import TargetError, load_function, load_handler, refuse_arguments

SOURCE = """
import functools

async def main(*arguments):
    return arguments

def not_async():
    pass

class Server:
    async def __call__(self, stream):
        pass

    async def handle(self, stream):
        pass

async def takes_nothing():
    pass

async def takes_two(stream, more):
    pass

server = Server()
partial = functools.partial(main, 1)
number = 3
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    (tmp_path / "user_module.py").write_text(SOURCE)
    (tmp_path / "broken_module.py").write_text("import no_such_dependency\n")
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield tmp_path
    sys.path[:] = path
    sys.modules.pop("user_module", None)


def test_a_built_in_handler_is_found_by_its_name() -> None:
    assert load_handler("echo") is echo


@pytest.mark.parametrize("path", ["main", "server", "server.handle", "partial"])
def test_what_makes_a_coroutine_is_accepted(folder: Path, path: str) -> None:
    assert callable(load_function(f"user_module:{path}"))


def test_a_sync_function_is_refused_with_the_right_line(folder: Path) -> None:
    with pytest.raises(TargetError, match="right: async def not_async"):
        load_function("user_module:not_async")


def test_a_value_that_cannot_be_called_is_refused(folder: Path) -> None:
    with pytest.raises(TargetError, match="cannot be called"):
        load_function("user_module:number")


def test_a_misspelt_function_gets_a_suggestion(folder: Path) -> None:
    with pytest.raises(TargetError, match="did you mean 'main'"):
        load_function("user_module:mian")


def test_a_missing_module_says_where_it_was_looked_for(folder: Path) -> None:
    with pytest.raises(TargetError, match="there is no module 'absent'"):
        load_function("absent:main")


def test_a_missing_dependency_of_the_module_is_not_hidden(folder: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="no_such_dependency"):
        load_function("broken_module:main")


@pytest.mark.parametrize("text", ["module", ":main", "module:"])
def test_a_target_of_another_form_is_refused(text: str) -> None:
    with pytest.raises(TargetError, match="right:"):
        load_function(text)


def test_an_unknown_handler_name_lists_the_built_in_ones() -> None:
    with pytest.raises(TargetError, match="echo, discard, http-hello"):
        load_handler("ehco")


@pytest.mark.parametrize("path", ["main", "server", "server.handle", "partial"])
def test_a_handler_is_what_takes_a_stream(folder: Path, path: str) -> None:
    assert callable(load_handler(f"user_module:{path}"))


@pytest.mark.parametrize("path", ["takes_nothing", "takes_two"])
def test_a_handler_that_does_not_take_a_stream_alone_is_refused(folder: Path, path: str) -> None:
    with pytest.raises(TargetError, match=rf"with a stream: .*\n  it is: async def {path}\("):
        load_handler(f"user_module:{path}")


def test_a_function_is_refused_when_arguments_are_missing(folder: Path) -> None:
    function = load_function("user_module:takes_two")
    refuse_arguments(function, "user_module:takes_two", ("1", "2"))

    with pytest.raises(TargetError, match="with 1: missing a required argument: 'more'"):
        refuse_arguments(function, "user_module:takes_two", ("1",))
    with pytest.raises(TargetError, match="with nothing: missing"):
        refuse_arguments(function, "user_module:takes_two", ())


def load_application(text: str) -> object:
    return load_target(text, ApplicationOptions())


@pytest.mark.parametrize("load", [load_function, load_handler, load_application])
@pytest.mark.parametrize(
    "wrong, right",
    [
        ("hmod.py:echo", "hmod:echo"),
        ("hmod.py", "hmod:main"),
        ("folder/hmod.py:echo", "hmod:echo, in the folder folder"),
        ("./hmod:echo", "hmod:echo, in the folder ."),
    ],
)
def test_a_file_is_answered_with_its_module(
    load: Callable[[str], object],
    wrong: str,
    right: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "hmod.py").write_text("async def echo(stream): pass\n")
    monkeypatch.chdir(tmp_path)

    with pytest.raises(TargetError, match="names a module") as refused:
        load(wrong)

    assert str(refused.value).endswith(f"  wrong: {wrong}\n  right: {right}")
