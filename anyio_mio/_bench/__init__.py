"""The benchmarks behind `anyio-mio bench` and `anyio-mio demo`.

Rules:

1. What is compared is processor time of the measured process for each operation. Rates depend on
   the load, which is Python too and has a processor of its own; they are shown beside it.
2. A process is measured while it does its work and nothing else: connections stand before the
   first reading of its clock and are closed after the second.
3. Backends take turns, round by round, so that a noisy minute affects all of them; the median
   counts, and the spread is shown with it.
4. Measured programs are plain AnyIO programs: they show what any program gets by naming a backend.
   Loads know neither AnyIO nor this project. They touch the loopback only, and are bounded in time
   and in count.
5. A count (system calls, bytes) is worth more than a time: it is the same on every machine.
6. There is one way to start a server or a load (`processes`), one load generator (`load`) and one
   way to count system calls (`system_calls`). Processes talk in lines of JSON (`protocol`), and
   nothing here prints for people; `anyio_mio.cli` does.

Map::

    rows, demo        what can be measured
    rounds            the backends take turns
    measuring         a server, a load, and what the server used
    processes         starting both, and talking to them
    server, trio_server, load, conversation, inside, programs      what runs in these processes
    protocol, backends, resources, machine, system_calls           what all of them need
"""
