"""What runs before ``store_workers``: the artifact's first lines and its importer.

* ``__main__.py`` becomes the archive's own ``__main__.py``: it parses on any Python since 2.7,
  cuts the interpreter loose from its surroundings and checks what it loads.
* ``refuse.py`` tells a host that cannot run the artifact why (also parsed by Python 2.7).
* ``loader.py`` imports Python code and the one native library straight from the archive.
* ``private_cache.py`` holds that library where it cannot be loaded from memory.

It lies under ``src`` because it ships: it is part of the product, not of the tool that builds it.
"""
