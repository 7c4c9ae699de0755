"""The demonstration behind `anyio-mio demo`: a server and a load, each in its own process.

Rules:

1. The server is a plain AnyIO program: it shows what any program gets by naming a backend. Only
   the listener's `statistics()` is looked for beyond AnyIO's interface, and may be missing.
2. The load knows neither AnyIO nor this project, so that it measures all backends alike. It
   touches the loopback only and is bounded in time and in count.
3. The processes talk in lines of JSON. Nothing here prints for people; `anyio_mio.cli` does.
"""
