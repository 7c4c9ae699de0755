"""What PyPI would get: the sdist, and the wheel that is built from it."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email import message_from_bytes
from email.message import Message
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
SETTINGS: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())
PROJECT = SETTINGS["project"]
MODULES = {*SETTINGS["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]} - {"anyio_mio"}
NAME = f"anyio_mio-{PROJECT['version']}"
FOR_READERS = {
    "CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "LICENSE", "README.md", "RELEASING.md",
    "SECURITY.md", "dev.py", "pyproject.toml", *MODULES,
}  # fmt: skip
PROGRAM = """
import anyio, anyio_mio, anyio_mio_pytest
async def main():
    await anyio.sleep(0)
    return anyio_mio.__file__
print(anyio_mio.run(main))
"""


def run(*command: str, **options: Any) -> str:
    """Run a module of this Python; returns what it prints."""
    done = subprocess.run(
        [sys.executable, *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=60,
        check=False,
        **options,
    )
    assert done.returncode == 0, done.stdout
    return str(done.stdout)


@pytest.fixture(scope="session")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with the sdist and the wheel. Built once, without the network."""
    for tool in ("build", "hatchling", "twine"):
        pytest.importorskip(tool, reason="pip install --group release")
    folder = tmp_path_factory.mktemp("dist")
    run("-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT))
    return folder


def names_in_wheel(dist: Path) -> set[str]:
    with zipfile.ZipFile(dist / f"{NAME}-py3-none-any.whl") as wheel:
        return set(wheel.namelist())


def names_in_sdist(dist: Path) -> set[str]:
    with tarfile.open(dist / f"{NAME}.tar.gz") as sdist:
        return {each.name.partition("/")[2] for each in sdist if each.isfile()}


def metadata(dist: Path) -> Message:
    with zipfile.ZipFile(dist / f"{NAME}-py3-none-any.whl") as wheel:
        return message_from_bytes(wheel.read(f"{NAME}.dist-info/METADATA"))


def files_below(folder: str, pattern: str = "*") -> set[str]:
    """The files of the checkout that are in the repository."""
    found = (path for path in (ROOT / folder).rglob(pattern) if path.is_file())
    made = {"__pycache__", "_build"}
    return {path.relative_to(ROOT).as_posix() for path in found if not made & {*path.parts}}


@pytest.mark.slow
@pytest.mark.timeout(90)
def test_a_release_consists_of_one_sdist_and_one_wheel_for_every_system(dist: Path) -> None:
    assert {each.name for each in dist.iterdir()} >= {f"{NAME}.tar.gz", f"{NAME}-py3-none-any.whl"}


def test_the_package_index_can_show_both(dist: Path) -> None:
    run("-m", "twine", "check", "--strict", *(str(each) for each in dist.glob("anyio_mio-*")))


def test_the_wheel_has_the_package_and_nothing_else(dist: Path) -> None:
    package = files_below("anyio_mio")
    written = {name for name in names_in_wheel(dist) if ".dist-info/" not in name}

    assert written == package | MODULES
    assert "anyio_mio/py.typed" in written
    assert f"{NAME}.dist-info/licenses/LICENSE" in names_in_wheel(dist)


def test_the_sdist_has_the_tests_the_documentation_and_the_papers(dist: Path) -> None:
    names = names_in_sdist(dist)

    assert names >= FOR_READERS
    for folder in ("anyio_mio", "benchmarks", "docs", "examples", "tests"):
        assert files_below(folder) - names == set()


def test_the_sdist_has_nothing_that_was_made(dist: Path) -> None:
    kept = FOR_READERS | {"PKG-INFO", ".gitignore"}
    folders = ("anyio_mio/", "benchmarks/", "docs/", "examples/", "tests/")
    foreign = {each for each in names_in_sdist(dist) if not each.startswith(folders)} - kept

    assert foreign == set()
    assert [
        each for each in names_in_sdist(dist) if "__pycache__" in each or "_build" in each
    ] == []


def test_the_wheel_says_what_it_needs_and_where_it_comes_from(dist: Path) -> None:
    told = metadata(dist)

    assert told["Requires-Python"] == PROJECT["requires-python"]
    assert set(told.get_all("Provides-Extra", [])) == set(PROJECT["optional-dependencies"])
    assert len([each for each in told.get_all("Requires-Dist", []) if "extra ==" not in each]) == 2
    assert told.get_all("Project-URL") == [f"{k}, {v}" for k, v in PROJECT["urls"].items()]
    assert told["License-Expression"] == "MIT"
    assert str(told.get_payload()).startswith("# anyio_mio")


def test_the_installed_wheel_runs_without_the_checkout(dist: Path, tmp_path: Path) -> None:
    wheel = str(dist / f"{NAME}-py3-none-any.whl")
    run(
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-deps",
        "--no-index",
        "--target",
        str(tmp_path),
        wheel,
    )
    variables = {**os.environ, "PYTHONPATH": str(tmp_path)}

    assert str(tmp_path) in run("-P", "-c", PROGRAM, cwd=tmp_path, env=variables)
    assert PROJECT["version"] in run(
        "-P", "-m", "anyio_mio", "--version", cwd=tmp_path, env=variables
    )


def test_the_changelog_has_a_section_for_this_version() -> None:
    assert f"\n## [{PROJECT['version']}] - " in (ROOT / "CHANGELOG.md").read_text()


def test_only_the_jobs_that_publish_may_speak_for_the_project() -> None:
    yaml = pytest.importorskip("yaml")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "publish.yml").read_text())
    speaking = {
        name
        for name, job in workflow["jobs"].items()
        if job.get("permissions", {}).get("id-token") == "write"
    }

    assert workflow["permissions"] == {"contents": "read"}
    assert speaking == {"testpypi", "pypi"}
    assert all(workflow["jobs"][name]["environment"] == name for name in speaking)
    assert all(workflow["jobs"][name]["needs"] == "build" for name in speaking)
