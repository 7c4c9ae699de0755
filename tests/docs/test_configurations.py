"""The files of other programs that the pages show are accepted by these programs' own checks."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from anyio_mio.cli.serve import serve
from tests.docs.page import ROOT

GUIDES = ROOT / "docs" / "guides"
FILE = re.compile(
    r"^```\{code-block\} \w+\n:caption: (?P<name>\S+)\n\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
SERVES = re.compile(
    r"^(?:ExecStart=|\$ )\S*anyio-mio serve (?P<rest>[^#&>\n]+?)(?: 2?>|$| +#| &)", re.MULTILINE
)
CONTAINER = re.compile(r"^CMD (\[.*\])$", re.MULTILINE)
NGINX = """
pid nginx.pid;
events {{ }}
http {{
    include {file};
}}
"""
SETTLING = 5
"""Seconds between the end of the grace period and the kill of a worker."""


def files() -> Iterator[tuple[str, str, str]]:
    """Each page with the names and the texts of its files."""
    for path in sorted(GUIDES.glob("*.md")):
        for match in FILE.finditer(path.read_text()):
            yield path.name, match["name"], match["text"]


FILES = list(files())


def named(end: str) -> list[Any]:
    """The files whose names end so, for `parametrize`."""
    found = [each for each in FILES if each[1].endswith(end)]
    assert found
    return [pytest.param(name, text, id=f"{page}:{name}") for page, name, text in found]


def text_of(page: str, name: str) -> str:
    [text] = [each[2] for each in FILES if each[:2] == (page, name)]
    return text


def accepts(command: list[str], folder: Path) -> str:
    """Run a program's own check; returns its warnings."""
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed")
    done = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stderr


@pytest.mark.parametrize("name, text", named("haproxy.cfg"))
def test_haproxy_accepts_its_configuration(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    accepts(["haproxy", "-c", "-f", name], tmp_path)


@pytest.mark.parametrize("name, text", named("app.conf"))
def test_nginx_accepts_its_configuration(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    main = tmp_path / "nginx.conf"
    main.write_text(NGINX.format(file=tmp_path / name))
    accepts(["nginx", "-t", "-q", "-p", str(tmp_path), "-c", str(main), "-e", "stderr"], tmp_path)


@pytest.mark.parametrize("name, text", named(".service"))
def test_systemd_accepts_its_units(name: str, text: str, tmp_path: Path) -> None:
    here = re.sub(r"^(After|Wants)=.*\n", "", text, flags=re.MULTILINE)
    here = re.sub(r"^ExecStart=\S+", f"ExecStart={sys.executable}", here, flags=re.MULTILINE)
    here = re.sub(r"^(WorkingDirectory)=.*", rf"\1={tmp_path}", here, flags=re.MULTILINE)
    unit = tmp_path / name.replace("@", "@8001")
    unit.write_text(here)
    warnings = accepts(["systemd-analyze", "verify", "--man=no", str(unit)], tmp_path)

    assert str(unit) not in warnings  # an unknown key is a warning


def commands() -> Iterator[Any]:
    """Each command that serves, in the units, consoles and containers of the guides."""
    for path in sorted([*GUIDES.glob("*.md"), ROOT / "README.md", ROOT / "docs" / "tutorial.md"]):
        text = re.sub(r"\\\n *", "", path.read_text())
        lines = [match["rest"] for match in SERVES.finditer(text)]
        lines += [shlex.join(json.loads(each)[2:]) for each in CONTAINER.findall(text)]
        yield from (pytest.param(line, id=f"{path.name}: {line}") for line in lines)


@pytest.mark.parametrize("line", list(commands()))
def test_every_command_that_is_shown_has_options_that_exist(line: str, tmp_path: Path) -> None:
    words = shlex.split(line.replace("%i", "8001"))
    existing = {"chain.pem", "key.pem", "password.txt", "/srv/visits", "/srv/app"}
    words = [str(tmp_path if "/srv" in w else __file__) if w in existing else w for w in words]

    serve.make_context("serve", words)  # raises a click.UsageError


def manifests() -> list[dict[str, Any]]:
    yaml = pytest.importorskip("yaml")
    return list(yaml.safe_load_all(text_of("deploying.md", "visits.yaml")))


def test_kubernetes_accepts_the_manifest() -> None:
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for document in manifests():
        kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def pod_of_the_deployment() -> dict[str, Any]:
    [pod] = [
        each["spec"]["template"]["spec"] for each in manifests() if each["kind"] == "Deployment"
    ]
    return pod  # type: ignore[no-any-return]


def option_in_the_container(name: str) -> str:
    [command] = CONTAINER.findall(text_of("deploying.md", "Dockerfile"))
    words: list[str] = json.loads(command)
    return words[words.index(name) + 1]


def test_a_pod_gets_the_time_that_the_server_needs_to_stop() -> None:
    pod = pod_of_the_deployment()
    [container] = pod["containers"]
    pause = container["lifecycle"]["preStop"]["sleep"]["seconds"]
    needed = pause + float(option_in_the_container("--grace")) + SETTLING

    assert pod["terminationGracePeriodSeconds"] > needed


def test_the_probes_ask_the_port_and_the_paths_that_the_supervisor_answers() -> None:
    pod = pod_of_the_deployment()
    [container] = pod["containers"]
    asked = {
        kind: container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "readiness", "liveness")
    }
    [port] = [each["containerPort"] for each in container["ports"] if each["name"] == "health"]

    assert asked == {
        "startup": {"path": "/readyz", "port": "health"},
        "readiness": {"path": "/readyz", "port": "health"},
        "liveness": {"path": "/healthz", "port": "health"},
    }
    assert option_in_the_container("--health") == f"0.0.0.0:{port}"
