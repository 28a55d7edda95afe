# ruff: noqa: D100, E401, E501, E701, I001
# mypy: ignore-errors
# fmt: off
import os, sys  # damaged? copy the file again
DIRECTORY = 0x00000000  # damaged? copy the file again
for compiled in 1, 0:  # damaged? copy the file again
    try:  # damaged? copy the file again
        sums = {}  # damaged? copy the file again
        folder = "cp%d%d/" % sys.version_info[:2] if compiled else ""  # damaged? copy the file again
        name = folder + "store_workers_bootstrap/boot.py" + "c" * compiled  # damaged? copy the file again
        code = __loader__.get_data(name)  # damaged? copy the file again
        bad = sum(bytearray(code)) != sums[folder]  # damaged? copy the file again
        if compiled and not bad: code = __loader__.get_code(name[:-4].replace("/", os.sep))  # damaged? copy the file again
        break  # damaged? copy the file again
    except Exception as error: bad = error  # damaged? copy the file again
if not bad: exec(code)  # damaged? copy the file again
words = {"MemoryError": "out of memory", "RuntimeError": "no thread or lock", "ImportError": "a library of Python cannot be loaded"}  # damaged? copy the file again
limit = os.strerror(bad.errno) if getattr(bad, "errno", 0) else words.get(type(bad).__name__)  # damaged? copy the file again
line = ("HOST_UNSUPPORTED", "a limit of this host: " + limit) if limit else ("INTERNAL", "this copy of store-workers.pyz is damaged: copy the file again")  # damaged? copy the file again
try: os.write(1, ('{"type":"ERROR","code":"%s","message":"%s","retryable":false}\n' % line).encode())  # damaged? copy the file again
finally: os._exit(1)  # damaged? copy the file again
