import sys

import pytest

from anyio_mio.cli import main


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_a_missing_extra_is_answered_with_the_right_line(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in list(sys.modules):
        if name.startswith("anyio_mio.cli.") or name.partition(".")[0] == missing:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)

    with pytest.raises(SystemExit) as stopped:
        main()

    assert stopped.value.code == 2
    assert "right: pip install 'anyio-mio[cli]'" in capsys.readouterr().err


def test_help_lists_the_commands(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["anyio-mio", "--help"])

    with pytest.raises(SystemExit) as stopped:
        main()

    assert stopped.value.code == 0
    assert "demo" in capsys.readouterr().out
