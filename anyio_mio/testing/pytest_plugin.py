"""The plugin under its former name, for environments that were installed before it moved."""

from __future__ import annotations

from anyio_mio_pytest import mio_autojump_clock as mio_autojump_clock
from anyio_mio_pytest import mio_mock_clock as mio_mock_clock
from anyio_mio_pytest import pytest_fixture_setup as pytest_fixture_setup
from anyio_mio_pytest import pytest_runtest_call as pytest_runtest_call
