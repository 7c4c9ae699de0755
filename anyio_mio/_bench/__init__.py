"""The benchmarks behind `anyio-mio bench` and `anyio-mio curves`.

Rules:

1. What is compared is processor time of the measured process for each operation. Rates depend on
   the load, which is Python too and has a processor of its own; they are shown beside it.
2. A process is measured while it does its work and nothing else: connections stand before the
   first reading of its clock and are closed after the second.
3. Backends take turns, round by round, so that a noisy minute hits them all; the median counts,
   and the spread is shown with it.
4. Measured programs are plain AnyIO programs. Loads know neither AnyIO nor this project.
5. A count (system calls, bytes) is worth more than a time: it is the same on every machine.
"""
