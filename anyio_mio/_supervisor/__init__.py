"""The processes of `anyio-mio serve`: a supervisor, and the workers that it starts and replaces.

The supervisor owns the listening sockets and passes them to its workers. A worker can end, crash or
be replaced. Queued connections then wait for the next worker, and no client is refused.

The map::

    supervisor ── worker_process ══ channel ══ worker ── anyio_mio.serve_listeners()
        │               │                        │
      slot, recycling   log ── writer          worker_log, worker_metrics, certificate, target
        │
      management ── health, server_metrics (of all workers: metric_sums)

Other modules: `configuration` has the options. `target` and `application` find the handler or
application on the `search_path`, and `handlers` has the built-in ones. `binding`, `adopted` and
`listening` make the sockets, and `port_holder` names the program that uses a port. `file_watch`
requests a reload, `service_manager` notifies systemd, and `live` shows a table. `one_process`
serves without a supervisor.

Rules:

1. Only the supervisor makes and closes sockets. A worker closes its own copies, and processes that
   a worker starts do not inherit them.
2. A worker gets an `Assignment` on its command line. After that both sides send messages over a
   `Channel`: JSON objects, one on each line. A message of an unknown kind is ignored.
3. Writing a log or a report never waits. If the reader is too slow, lines are dropped and counted.
4. If a worker cannot be started, does not become ready or no longer answers, only its own slot is
   affected. The other workers continue to serve.
5. This package uses only public names of anyio_mio, with two exceptions: `_net.unix_paths`, so that
   one rule says which paths may be replaced and removed, and `_net.accept_queue`, so that the
   supervisor and a single process stop listening in the same way.
"""
