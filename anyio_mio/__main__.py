"""`python -m anyio_mio` is the command `anyio-mio`."""

from anyio_mio_command import main

if __name__ == "__main__":
    main()
