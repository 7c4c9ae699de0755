"""Fuzz a target with atheris, which looks for inputs that reach new code.

    pip install atheris
    python tests/fuzz/fuzz.py requests                                  # until Ctrl-C, or it fails
    python tests/fuzz/fuzz.py requests -max_total_time=7200 corpus      # two hours; keeps its finds
    python tests/fuzz/fuzz.py requests crash-0f3a                       # one input again

The words behind the target are libFuzzer's. The targets are in `targets.py`. An input that fails is
written to `crash-…` in the current folder; add it to `seeds.py`.

The parser below is C, so what happens in it is not seen as new code. Hence every other input is
made of the lines of known ones, and not of changed bytes alone.
"""

from __future__ import annotations

import random
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).parents[2]))

with atheris.instrument_imports(include=["anyio_mio.asgi"]):
    from tests.fuzz.seeds import SEEDS
    from tests.fuzz.targets import TARGETS

Mutator = Callable[[bytes, int, int], bytes]


def main() -> None:
    """Do what the command line says."""
    if len(sys.argv) < 2 or sys.argv[1] not in TARGETS:
        sys.exit(f"python tests/fuzz/fuzz.py {'|'.join(TARGETS)} [libFuzzer's options]")
    name = sys.argv.pop(1)
    with tempfile.TemporaryDirectory() as folder:
        if all(each.startswith("-") or Path(each).is_dir() for each in sys.argv[1:]):
            sys.argv.append(write_seeds(name, folder))
        atheris.Setup(sys.argv, TARGETS[name], custom_mutator=mutator(SEEDS[name]))
        atheris.Fuzz()


def write_seeds(name: str, folder: str) -> str:
    """Write a target's seeds to a folder, and return it."""
    for number, seed in enumerate(SEEDS[name]):
        Path(folder, f"seed-{number}").write_bytes(seed)
    return folder


def mutator(seeds: list[bytes]) -> Mutator:
    """A function that changes an input: line by line, or byte by byte."""
    lines = sorted({line for seed in seeds for line in seed.split(b"\r\n")})

    def mutate(data: bytes, max_size: int, seed: int) -> bytes:
        chance = random.Random(seed)
        if chance.random() < 0.5:
            return bytes(atheris.Mutate(data, max_size))
        parts = data.split(b"\r\n")
        place = chance.randrange(len(parts))
        if chance.random() < 0.3:
            del parts[place]
        elif chance.random() < 0.5:
            parts.insert(place, chance.choice(lines))
        else:
            parts[place:] = [chance.choice(lines), b"", *chance.choice(seeds).split(b"\r\n")]
        return b"\r\n".join(parts)[:max_size]

    return mutate


if __name__ == "__main__":
    main()
