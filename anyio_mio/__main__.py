"""`python -m anyio_mio` is the command `anyio-mio`."""

from anyio_mio.cli import main

if __name__ == "__main__":
    main()
