"""mio's side of AnyIO: the backend class, and AnyIO's classes, based on those of the kernel.

Map: AnyIO asks `backend`, which `registration` puts into its table. The kernel's objects with
AnyIO's faces are in `tasks`, `task_info`, `synchronization`, `capacity_limiter`, `signals`,
`processes`, `threads`, `thread_pipes`, `open_sockets` and `test_runner`; `names` resolves host
names. `running` begins a run and checks its `options`; `detection` shows the run to sniffio and to
asyncio. `anyio_internals` has AnyIO's private names. `compat` teaches other libraries the name mio
as they are imported, which `import_hook` tells it.

Rules:

* B1 Only this package uses AnyIO's private names, and each of them in one place.
* B2 No wrapper objects: AnyIO's classes are inherited together with the kernel's.
* B3 AnyIO's constructors call ``__init__`` a second time with the same arguments, so it is
  idempotent, or absent.
* B4 ``MioBackend`` holds one short method for each of AnyIO's, and no logic.
"""
