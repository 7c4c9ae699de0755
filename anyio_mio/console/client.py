"""Ask the console of another process."""

from __future__ import annotations

import os
import socket
import stat
import sys
import tempfile
from collections.abc import Container
from pathlib import Path
from types import TracebackType
from typing import Any, Final, final

from anyio_mio.console.protocol import ProtocolError, check_stats, decode, encode, tree_from_json
from anyio_mio.lowlevel import TaskTree

TIMEOUT: Final = 10.0
"""Seconds that a console has for an answer. It answers within a second, or not at all."""

LONGEST_ANSWER: Final = 1 << 28
"""Bytes of an answer at most: the tree of 200,000 tasks with deep stacks."""

NO_UNIX_SOCKETS: Final = "this platform has no UNIX sockets, so no program has a console"


class NoConsole(Exception):
    """There is no console to ask; the text says why, in one line, and what to do."""


def default_directory() -> Path:
    """Return the directory in which a process opens its console when no path is given."""
    base = os.environ.get("XDG_RUNTIME_DIR")
    if base:
        return Path(base) / "anyio_mio"
    if sys.platform == "win32":
        raise NoConsole(NO_UNIX_SOCKETS)
    return Path(tempfile.gettempdir()) / f"anyio_mio-{os.getuid()}"


def find_consoles(target: str | None, alive: Container[Path] = ()) -> list[Path]:
    """Find the sockets that a command line means.

    Args:
        target: a process ID, the path of a socket, the path of a directory with sockets, or None
            for all consoles in the default directory. Sockets in a directory that a killed process
            left behind are passed over.
        alive: consoles that are known to answer. They are not tried: to be tried costs a program a
            connection and a thread.

    Raises:
        NoConsole: There is none, or it cannot be reached.
    """
    if sys.platform == "win32":
        raise NoConsole(NO_UNIX_SOCKETS)
    if target is not None and target.isascii() and target.isdigit():
        return find_process(int(target))
    path = default_directory() if target is None else Path(target)
    try:
        return find_sockets(path, alive)
    except OSError as error:  # of a directory of another user, or a name that is too long
        raise NoConsole(f"cannot open {path}: {error.strerror or error}") from None


def find_sockets(path: Path, alive: Container[Path]) -> list[Path]:
    """Find the sockets of a path, which is a socket or a directory.

    Raises:
        NoConsole: There is none.
        OSError: the system does not let this process look there.
    """
    if path.is_dir():
        sockets = (each for each in path.iterdir() if is_socket(each))
        found = sorted(each for each in sockets if each in alive or not is_dead(each))
        if not found:
            raise NoConsole(f"no console in {path}: {start_with(f'{path}/')}")
        return found
    if not path.exists():
        raise NoConsole(f"no console at {path}: {start_with(str(path))}")
    if not is_socket(path):
        raise NoConsole(f"{path} is no socket: name a socket, a directory, or a process")
    return [path]


def find_process(pid: int) -> list[Path]:
    """Find the consoles of a process and of its children in the default directory.

    So the process of a server stands for its workers.

    Raises:
        NoConsole: There is no such process, or it has no console.
    """
    directory = default_directory()
    paths = sorted(directory.glob("*.sock")) if directory.is_dir() else []
    found = [path for path in paths if pid in family_of(path) and not is_dead(path)]
    if found:
        return found
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        raise NoConsole(f"there is no process {pid}") from None
    except PermissionError:
        raise NoConsole(f"process {pid} belongs to another user") from None
    raise NoConsole(
        f"process {pid} has no console in {directory}: {start_with('1')}, or name its directory"
    )


def family_of(path: Path) -> tuple[int, ...]:
    """Return the process that a console in the default directory is named after, and its parent."""
    number = path.stem.partition("-")[0]
    if not (number.isascii() and number.isdigit()):
        return ()
    try:
        fields = Path(f"/proc/{number}/stat").read_text("utf-8", "replace").rpartition(")")[2]
        return (int(number), int(fields.split()[1]))
    except (OSError, ValueError, IndexError):  # it has ended, or this is not Linux
        return (int(number),)


def start_with(value: str) -> str:
    """Return what to do so that a program has a console."""
    return f"start the program with ANYIO_MIO_CONSOLE={value}"


def is_socket(path: Path) -> bool:
    """Return whether a path is a socket."""
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False


def is_dead(path: Path) -> bool:
    """Return whether the process that opened a socket has ended."""
    with unix_socket() as probe:
        probe.setblocking(False)  # a queue that is full belongs to a process that lives
        try:
            probe.connect(str(path))
        except (ConnectionRefusedError, FileNotFoundError):
            return True
        except OSError:
            pass
    return False


def unix_socket() -> socket.socket:
    """Return a new UNIX socket.

    Raises:
        NoConsole: the platform has none.
    """
    if sys.platform == "win32":
        raise NoConsole(NO_UNIX_SOCKETS)
    return socket.socket(socket.AF_UNIX)


@final
class ConsoleClient:
    """A connection to a console; a context manager.

    Args:
        path: the console's socket.

    Raises:
        NoConsole: Nothing answers there.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self._socket = unix_socket()
        self._socket.settimeout(TIMEOUT)
        try:
            self._socket.connect(str(path))
        except ConnectionRefusedError:
            self._socket.close()
            raise NoConsole(f"the program behind {path} has ended") from None
        except BlockingIOError:
            self._socket.close()
            raise NoConsole(f"{path} does not answer: too many clients wait for it") from None
        except OSError as error:
            self._socket.close()
            raise NoConsole(f"cannot open {path}: {error.strerror or error}") from None
        self._lines = self._socket.makefile("rb")

    def ask(self, question: str) -> Any:
        """Ask, and return the answer: what `anyio_mio.console.protocol` says.

        Raises:
            NoConsole: It does not answer, or not in this protocol; or it refused the question.
        """
        try:
            self._socket.sendall(encode("ask", question))
            line = self._lines.readline(LONGEST_ANSWER)
        except TimeoutError:
            raise NoConsole(f"{self.path} does not answer within {TIMEOUT:g} s") from None
        except OSError as error:
            raise NoConsole(f"{self.path}: {error.strerror or error}") from None
        if not line:
            raise NoConsole(f"{self.path} closed the connection")
        try:
            return decode(line, "answer")
        except ProtocolError as error:
            raise NoConsole(f"{self.path}: {error}") from None

    def stats(self) -> dict[str, Any]:
        """Ask for the figures of the run and of its process.

        Raises:
            NoConsole: as `ask()`, or the answer has not all of them.
        """
        answer = self.ask("stats")
        try:
            return check_stats(answer)
        except ProtocolError as error:
            raise NoConsole(f"{self.path}: {error}") from None

    def tree(self) -> tuple[TaskTree, bool]:
        """Ask for the task tree, and for whether the loop did not answer.

        Raises:
            NoConsole: as `ask()`, or the answer is no tree.
        """
        answer = self.ask("tree")
        try:
            return tree_from_json(answer), bool(answer["is_stuck"])
        except ProtocolError as error:
            raise NoConsole(f"{self.path}: {error}") from None

    def close(self) -> None:
        """Close the connection."""
        self._lines.close()
        self._socket.close()

    def __enter__(self) -> ConsoleClient:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
