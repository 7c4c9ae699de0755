"""What `anyio-mio serve` does besides serving: a supervisor, and workers that it looks after.

The supervisor owns the listening sockets and passes them to its workers. A worker can end, crash or
be replaced: the connections that clients have queued wait for the next worker, and none is refused.

The map::

    supervisor ── worker_process ══ channel ══ worker ── anyio_mio.serve_listeners()
        │               │                        │
      slot, recycling   log ── writer          worker_log, worker_metrics, certificate, target
        │
      management ── health, server_metrics (of all workers: metric_sums)

Parts of these: `configuration` has the options; `target` and `application` find what is served on
the `search_path`, and `handlers` are built in; `binding`, `adopted` and `listening` make the
sockets, `port_holder` says who has a port that is in use; `file_watch` asks for a reload,
`service_manager` tells systemd, `live` shows a table. `one_process` serves without a supervisor.

Rules:

1. The supervisor alone makes and closes sockets; a worker closes its own copies, and what a worker
   starts gets none.
2. A worker is told an `Assignment` on its command line. After that both sides talk over a
   `Channel`, in JSON objects, one a line. A message of an unknown kind is ignored.
3. Writing a log or a report never waits. What a reader does not take is dropped and counted.
4. A worker that cannot be started, does not become ready or no longer answers concerns its own
   slot; the others serve on.
5. Everything here uses what any user of the package may use, but for `_net.unix_paths`: there is
   one rule for the paths that may be replaced and removed.
"""
