"""The search path of the user's modules: the current folder comes after the standard library.

Python puts the current folder, or that of the script, first on ``sys.path``. Then a file
``random.py`` there replaces the library's module for all code. ``python -P`` leaves the folder out.
Here the folder comes directly after the standard library: it cannot replace a module of the
library, and installed packages cannot hide a module of the user.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from typing import Final

LIBRARY: Final = ("stdlib", "platstdlib")


def search_path() -> list[str]:
    """Return the value that ``sys.path`` should have."""
    folder = os.getcwd()
    path = list(sys.path)
    if path and not sys.flags.safe_path and path[0] in ("", folder, folder_of_the_script()):
        del path[0]
    position = 0
    for index, entry in enumerate(path):
        if is_of_the_library(entry):
            position = index + 1
    if folder not in path:
        path.insert(position, folder)
    return path


def folder_of_the_script() -> str:
    """Return the folder that Python itself puts first for a script."""
    return os.path.dirname(os.path.realpath(sys.argv[0]))


def is_of_the_library(entry: str) -> bool:
    """Return whether a folder or archive on ``sys.path`` belongs to the standard library."""
    folders = {sysconfig.get_path(name) for name in LIBRARY}
    is_extension_folder = os.path.dirname(entry) in folders and "-packages" not in entry
    return entry in folders or is_extension_folder


def is_in_the_library(name: str) -> bool:
    """Return whether the standard library has a module of this name."""
    return name.partition(".")[0] in sys.stdlib_module_names
