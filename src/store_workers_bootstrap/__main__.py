# ruff: noqa: D100, E501, E701, E702, I001
# mypy: ignore-errors
# fmt: off
import sys  # damaged? copy the file again
DIRECTORY = 0x00000000  # damaged? copy the file again
try:  # damaged? copy the file again
    s = __loader__.get_data("store_workers_bootstrap/boot.py")  # damaged? copy the file again
    bad = sum(bytearray(s)) != 0x00000000  # damaged? copy the file again
except Exception: bad = 1  # damaged? copy the file again
if not bad: exec(s)  # damaged? copy the file again
sys.stdout.write('{"type":"ERROR","code":"INTERNAL","message":"this copy of store-workers.pyz is damaged: copy the file again","retryable":false}\n'); sys.exit(1)  # damaged? copy the file again
