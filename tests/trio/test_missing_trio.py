import subprocess
import sys

PROGRAM = "import sys; sys.modules['trio'] = None; import anyio_mio.trio"


def test_without_trio_the_import_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=30, check=False
    )

    assert done.returncode == 1
    assert done.stderr.endswith(
        "ImportError: anyio_mio.trio needs the package 'trio'\n"
        "  right: pip install 'anyio-mio[trio]', or '.[trio]' in a checkout\n"
    )
