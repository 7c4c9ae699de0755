from collections.abc import Callable

import pytest
from click.testing import CliRunner, Result

from anyio_mio.cli.group import group


@pytest.fixture
def invoke() -> Callable[..., Result]:
    """Runs a command line of `anyio-mio` in this process."""
    return lambda *arguments: CliRunner().invoke(group, arguments)
