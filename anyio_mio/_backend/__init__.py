"""AnyIO's face of mio: the backend class, and AnyIO's classes on the kernel's.

Rules:

* B1 Only this package touches AnyIO's private names, and each of them in one place.
* B2 No wrapper objects: AnyIO's classes are inherited together with the kernel's.
* B3 AnyIO's constructors call ``__init__`` a second time with the same arguments, so it is
  idempotent, or absent.
* B4 ``MioBackend`` holds one short method for each of AnyIO's, and no logic.
"""
