"""The start of the artifact: its first lines, checks and native libraries.

* ``__main__.py`` becomes the archive's own ``__main__.py``: a few lines that check
  ``boot.py``.
* ``boot.py`` refuses a host that cannot run the artifact, and cuts the interpreter loose from its
  surroundings. Both parse on any Python since 2.7.
* ``refuse.py`` words such a refusal (also for Python 2.7).
* ``importer.py`` finds modules in the archive, and checks that what is imported is as it was built.
* ``native.py`` finds the native libraries; ``private_cache.py`` holds them where they can't be
  loaded from memory.

It is under ``src`` because it is part of the product, not of the build tool.
"""
