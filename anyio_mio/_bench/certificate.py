"""A certificate for the row `tls`, made by the command `openssl` for each measurement."""

from __future__ import annotations

import shutil
import subprocess

from anyio_mio._demo.measurement import MeasurementError

REQUEST = (
    *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
    *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
)


def make_certificate(folder: str) -> None:
    """Write `certificate.pem` and `key.pem` into a folder.

    Raises:
        MeasurementError: There is no openssl, or it failed.
    """
    if shutil.which("openssl") is None:
        raise MeasurementError("the row needs the command openssl, which is not installed")
    command = [*REQUEST, "-keyout", f"{folder}/key.pem", "-out", f"{folder}/certificate.pem"]
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    if made.returncode:
        raise MeasurementError(f"openssl could not make a certificate: {made.stderr.strip()}")
