"""Nothing around the artifact changes what it does."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.artifact.hosts import RoundTrip, copy_artifact, pythons, start, supported_pythons
from tests.support.worker import ARTIFACT

if TYPE_CHECKING:
    from collections.abc import Callable

# Modules that a hostile folder offers: the standard library's that Python's own start does not
# need, ours, and what is bundled.
SHADOWED = (
    *("json", "zlib", "hashlib", "signal", "queue", "socket"),
    *("store_workers", "zstandard", "urllib3", "botocore"),
)
NOBODY = 54321
AS_ROOT = os.geteuid() == 0
CAN_UNSHARE = AS_ROOT and not subprocess.run(["unshare", "-m", "true"], check=False).returncode


def hostile(folder: Path) -> Path:
    """Return a folder full of modules that end the process with status 99."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in SHADOWED:
        (folder / f"{name}.py").write_text("import os\nos._exit(99)\n")
    return folder


def check(trip: RoundTrip, hashes: list[str], python: str, *command: str, **how: Any) -> None:
    """Assert that a round trip goes as ever."""
    assert trip.run([python, *(command or (str(ARTIFACT),))], **how) == hashes


@pytest.mark.parametrize(
    "environ",
    [
        {"PYTHONSTARTUP": "{hostile}/json.py"},
        {"PYTHONWARNINGS": "error"},
        {"PYTHONOPTIMIZE": "2"},
        {"PYTHONDEVMODE": "1"},
        {"PYTHONDONTWRITEBYTECODE": "1"},
        {"PYTHONPYCACHEPREFIX": "{hostile}"},
        {"PYTHONHASHSEED": "7"},
        {"PYTHONUNBUFFERED": "1"},
        {"PYTHONINSPECT": "1"},
        {"PYTHONIOENCODING": "utf-16"},
        {"PYTHON_ZSTANDARD_IMPORT_POLICY": "cffi"},
        {"LANG": "C", "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
        {"HOME": None},
        {"HOME": "/proc/none", "TMPDIR": "/proc/none"},
    ],
    ids=",".join,
)
def test_variables(
    environ: dict[str, str | None],
    trip: RoundTrip,
    hashes: list[str],
    python: str,
    tmp_path: Path,
) -> None:
    folder = hostile(tmp_path / "hostile")
    filled = {k: v and v.replace("{hostile}", str(folder)) for k, v in environ.items()}
    check(trip, hashes, python, environ=filled)


@pytest.mark.parametrize("switches", [["-W", "error"], ["-OO"], ["-bb"], ["-X", "utf8=0"], ["-I"]])
def test_switches(switches: list[str], trip: RoundTrip, hashes: list[str], python: str) -> None:
    check(trip, hashes, python, *switches, str(ARTIFACT))


def test_a_hostile_pythonpath(
    trip: RoundTrip, hashes: list[str], python: str, tmp_path: Path
) -> None:
    folder = hostile(tmp_path / "hostile")
    check(trip, hashes, python, environ={"PYTHONPATH": str(folder)})
    check(trip, hashes, python, environ={"PYTHONPATH": f"{folder}{os.pathsep}{folder}/none"})


def test_modules_in_the_current_folder(
    trip: RoundTrip, hashes: list[str], python: str, tmp_path: Path
) -> None:
    folder = hostile(tmp_path / "hostile")
    check(trip, hashes, python, cwd=folder)
    check(trip, hashes, python, cwd=folder, environ={"PYTHONPATH": ""})
    beside = copy_artifact(folder)
    check(trip, hashes, python, beside.name, cwd=folder)


def test_a_venv_with_hostile_packages_and_pth_files(
    trip: RoundTrip, hashes: list[str], tmp_path: Path, python: str
) -> None:
    venv = tmp_path / "venv"
    subprocess.run([python, "-m", "venv", "--without-pip", str(venv)], check=True)
    (packages,) = venv.glob("lib/python3*/site-packages")
    hostile(packages)
    hook = (
        "import sys, types; sys.modules['zstandard'] = m = types.ModuleType('zstandard');"
        f" m.__file__ = '{packages}/zstandard.py';"
        " sys.meta_path.insert(0, type('F', (), {'find_spec': staticmethod("
        "lambda name, *a: exit(98) if name in ('json', 'store_workers') else None)}))"
    )
    (packages / "hook.pth").write_text(hook + "\n")
    check(trip, hashes, str(venv / "bin/python"))


def test_a_folder_that_is_gone(trip: RoundTrip, hashes: list[str], python: str) -> None:
    script = 'd=$(mktemp -d) && cd "$d" && rmdir "$d" && exec "$@"'
    assert trip.run(["sh", "-c", script, "sh", python, str(ARTIFACT)]) == hashes


def test_a_link_and_spaces(trip: RoundTrip, hashes: list[str], python: str, tmp_path: Path) -> None:
    copy = copy_artifact(tmp_path / "with spaces, ünïcode & 100%", "store workers.pyz")
    check(trip, hashes, python, str(copy))
    link = tmp_path / "link"
    link.symlink_to(copy)
    check(trip, hashes, python, str(link))
    check(trip, hashes, python, link.name, cwd=tmp_path)


def test_without_a_suffix_and_executable(
    trip: RoundTrip, hashes: list[str], tmp_path: Path, python: str
) -> None:
    copy = copy_artifact(tmp_path, "store-workers")
    path = f"{Path(python).parent}{os.pathsep}{os.environ['PATH']}"
    assert trip.run([str(copy)], environ={"PATH": path}) == hashes


def test_a_copy_replaced_while_it_runs(
    hashes: list[str], trip: RoundTrip, tmp_path: Path, python: str
) -> None:
    """What is loaded late comes from the file that was started."""
    copy = copy_artifact(tmp_path)
    message = (str(trip.upload()).replace("'", '"') + "\n").encode()
    with subprocess.Popen(
        [python, str(copy)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin
        opened = Path(f"/proc/{process.pid}/fd")
        # Until the worker has begun: it holds the file, and has started a thread.
        while process.poll() is None:
            with suppress(FileNotFoundError):  # what was closed between two looks
                held = [os.path.realpath(each) for each in opened.iterdir()]
                if str(copy) in held and len(os.listdir(f"/proc/{process.pid}/task")) > 1:
                    break
        copy_artifact(tmp_path, "other").write_bytes(b"something else")
        (tmp_path / "other").replace(copy)
        out, _ = process.communicate(message, timeout=60)
    assert process.returncode == 0
    assert hashes[0].encode() in out


def test_twenty_starts_at_once(trip: RoundTrip, hashes: list[str], python: str) -> None:
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: start([python, str(ARTIFACT)], trip.upload()), range(20)))
    assert [answer.last.get("hashes") for answer in answers] == [hashes] * 20


def test_a_narrow_umask(trip: RoundTrip, hashes: list[str], python: str) -> None:
    check(trip, hashes, python, preexec=lambda: os.umask(0o077) and None)


def test_few_files_and_little_memory(trip: RoundTrip, hashes: list[str], python: str) -> None:
    check(trip, hashes, python, preexec=limited(resource.RLIMIT_NOFILE, 64))


def limited(what: int, most: int) -> Callable[[], None]:
    return lambda: resource.setrlimit(what, (most, most))


def test_no_file_is_written(trip: RoundTrip, python: str, tmp_path: Path) -> None:
    """The kernel's own witness: nothing is opened for writing before the work begins."""
    if shutil.which("strace") is None:
        pytest.skip("strace is missing")
    record = tmp_path / "record"
    command = ["strace", "-f", "-o", str(record), "-e", "trace=openat,open,creat,mkdir,rename"]
    answer = start([*command, python, str(ARTIFACT)])
    assert answer.last["code"] == "BAD_MESSAGE"
    answer = start([*command, "-A", python, str(ARTIFACT)], trip.upload())
    assert answer.status == 0
    written = [
        line
        for line in record.read_text().splitlines()
        if any(word in line for word in ("O_WRONLY", "O_RDWR", "O_CREAT", "creat(", "mkdir("))
        and str(trip.folder) not in line
        and "/dev/null" not in line
    ]
    assert written == []


if AS_ROOT:

    def test_a_user_without_an_entry(hashes: list[str]) -> None:
        python = pythons().get("system-3.11") or pythons()[supported_pythons()[0]]
        with tempfile.TemporaryDirectory() as folder:
            trip = RoundTrip(Path(folder))
            trip.folder.chmod(0o777)
            copy = copy_artifact(trip.folder)
            copy.chmod(0o644)
            check(
                *(trip, hashes, python, str(copy)),
                environ={"HOME": None},
                preexec=lambda: os.setresuid(NOBODY, NOBODY, NOBODY),
            )


if CAN_UNSHARE:

    @pytest.mark.parametrize(
        "before",
        [
            'mount -t tmpfs -o noexec none "$TMPDIR"',
            (
                "mount --bind /usr /usr && mount -o remount,ro,bind /usr"
                ' && mount -o remount,ro,bind "$TMPDIR"'
            ),
            "mount -t tmpfs none /proc",
        ],
        ids=["noexec TMPDIR", "read-only disk", "no /proc"],
    )
    def test_mounts(
        before: str, hashes: list[str], python: str, trip: RoundTrip, tmp_path: Path
    ) -> None:
        cache = tmp_path / "cache"
        (tmp_path / "tmp").mkdir()
        script = f'mount --bind "$TMPDIR" "$TMPDIR" && {before} && exec "$@"'
        command = ["unshare", "-m", "sh", "-c", script, "sh", python, str(ARTIFACT)]
        environ = {"STORE_WORKERS_CACHE": str(cache), "TMPDIR": str(tmp_path / "tmp")}
        assert trip.run(command, environ=environ) == hashes
        assert cache.exists() == ("/proc" in before)
        if cache.exists():
            (folder,) = cache.iterdir()
            assert folder.stat().st_mode & 0o777 == 0o700
            assert len(list(folder.iterdir())) == 1
