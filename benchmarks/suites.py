"""The suites: what is compared, and the limits."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from benchmarks import peers
from benchmarks.measuring import Bench, RunFailed, Sample, Work
from benchmarks.outcome import Outcome, Wanted, summarize
from benchmarks.worker import Artifact, Store, last_event

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.data import Inputs

ZSTD, ZSTD_D, OPENSSL, PASS = "zstd -3 -T0", "zstd -d", "openssl dgst -sha256", "python3 -I -c pass"
TO_DIRECTORY, TO_NGINX = "store-workers to a directory", "store-workers to nginx"
FROM_DIRECTORY, FROM_NGINX = "store-workers from a directory", "store-workers from nginx"
BAD_MESSAGE = "store-workers, BAD_MESSAGE"
FIRST, LATER = "first start of a copy", "later start"
TIMES_FASTER = {"restic backup": 2.5, "borg create": 2.0, "casync make": 4.0}


@dataclass(frozen=True)
class Stage:
    """All that the suites share.

    Args:
        bench: measures.
        artifact: what is measured.
        inputs: what is moved.
        folder: for whatever is written.
        directory, nginx: the stores.
        rounds: of runs of the large files.
    """

    bench: Bench
    artifact: Artifact
    inputs: Inputs
    folder: Path
    directory: Store
    nginx: Store
    rounds: int

    def measure(
        self,
        key: str,
        title: str,
        works: Sequence[Work],
        wanted: Sequence[Wanted],
        rounds: int | None = None,
    ) -> Outcome:
        """Run works in turn, then empty what they filled."""
        count = rounds or self.rounds
        found = self.bench.in_turn(works, count)
        for store in (self.directory, self.nginx):
            store.empty()
        return summarize(key, title, count, found, wanted)

    @property
    def short_rounds(self) -> int:
        """Rounds of runs that take milliseconds."""
        return 5 * self.rounds

    def uploads(self, source: Path) -> list[Work]:
        """Return the upload of a file to each store."""
        return [
            self.artifact.upload(TO_DIRECTORY, source, self.directory),
            self.artifact.upload(TO_NGINX, source, self.nginx),
        ]


def upload(stage: Stage) -> Outcome:
    """Upload the tar, against zstd alone."""
    source = stage.inputs.tar
    wanted = [Wanted(TO_DIRECTORY, ZSTD, 1.05), Wanted(TO_NGINX, ZSTD, 1.15)]
    works = [peers.zstd(source, ZSTD), *stage.uploads(source)]
    return stage.measure("upload", "Upload of the tar", works, wanted)


def download(stage: Stage) -> Outcome:
    """Download the tar, against zstd with the same stream in a local file."""
    source, stream = stage.inputs.tar, stage.folder / "stream.zst"
    for work in stage.uploads(source):
        hashes: list[str] = last_event(stage.bench.run(work))["hashes"]
    stage.directory.write_stream(hashes, stream)
    target = stage.folder / "target"
    works = [
        peers.zstd_decompress(stream, target, ZSTD_D),
        stage.artifact.download(FROM_NGINX, stage.nginx, hashes, target, source),
        stage.artifact.download(FROM_DIRECTORY, stage.directory, hashes, target, source),
    ]
    wanted = [Wanted(FROM_NGINX, ZSTD_D, 0.9), Wanted(FROM_DIRECTORY, ZSTD_D)]
    outcome = stage.measure("download", "Download of the tar", works, wanted)
    target.unlink()
    stream.unlink()
    return outcome


def noise(stage: Stage) -> Outcome:
    """Upload what does not compress, against hashing it."""
    source = stage.inputs.noise
    works = [peers.openssl(source, OPENSSL), stage.uploads(source)[0]]
    wanted = [Wanted(TO_DIRECTORY, OPENSSL, 2.0)]
    return stage.measure("noise", "Upload of random bytes", works, wanted)


def others(stage: Stage) -> Outcome:
    """Upload the tar, compared with the installed peers."""
    source = stage.inputs.tar
    kept = peers.keepers(stage.bench, stage.folder, source)
    works = [peers.zstd(source, ZSTD), *stage.uploads(source), *kept]
    wanted = [Wanted(work.name, ZSTD) for work in works[1:]]
    for work in kept:
        limit = TIMES_FASTER.get(work.name)
        wanted.append(Wanted(work.name, TO_DIRECTORY, limit, at_least=True))
    outcome = stage.measure("peers", "Upload of the tar, and the peers", works, wanted)
    discard_repositories(kept)
    return outcome


def options(stage: Stage) -> Outcome:
    """Upload the tar with what may be asked for beside."""
    source, store, make = stage.inputs.tar, stage.directory, stage.artifact.upload
    works = [
        make("plain", source, store),
        make('"sha256": true', source, store, sha256=True),
        make('"verify": true', source, store, verify=True),
    ]
    wanted = [Wanted(work.name, "plain") for work in works[1:]]
    return stage.measure("options", "Cost of what may be asked for", works, wanted)


def start(stage: Stage) -> Outcome:
    """Runs with almost no work, compared with an interpreter that does nothing."""
    works = [
        Work(PASS, [stage.bench.python, "-I", "-c", "pass"]),
        stage.artifact.bad_message(BAD_MESSAGE),
        *stage.uploads(stage.inputs.small),
    ]
    limits = (3.0, 4.5, 8.0)
    wanted = [Wanted(work.name, PASS, limit) for work, limit in zip(works[1:], limits, strict=True)]
    return stage.measure("start", "Start: 4 KiB", works, wanted, stage.short_rounds)


def start_others(stage: Stage) -> Outcome:
    """The same 4 KiB, beside the peers."""
    source = stage.inputs.small
    kept = peers.keepers(stage.bench, stage.folder, source)
    works = [
        Work(PASS, [stage.bench.python, "-I", "-c", "pass"]),
        *stage.uploads(source),
        *kept,
    ]
    wanted = [Wanted(work.name, PASS) for work in works[1:]]
    title = "Start: 4 KiB, and the peers"
    outcome = stage.measure("start-peers", title, works, wanted, 2 * stage.rounds)
    discard_repositories(kept)
    return outcome


def first_start(stage: Stage) -> Outcome:
    """A copy that was never started before, against one that was; neither may leave a file."""
    copy, home = stage.folder / "copy.pyz", stage.folder / "first"

    def prepare() -> None:
        copy.unlink(missing_ok=True)
        shutil.copyfile(stage.artifact.path, copy)
        shutil.rmtree(home, ignore_errors=True)
        home.mkdir()
        stage.directory.empty()

    def check(_: Sample) -> None:
        if any(home.iterdir()):
            raise RunFailed("a first start left files behind")

    again = stage.artifact.upload(LATER, stage.inputs.small, stage.directory)
    first = Work(
        FIRST,
        [stage.bench.python, str(copy)],
        again.message,
        environ={"HOME": str(home), "TMPDIR": str(home)},
        prepare=prepare,
        listen=True,
        check=check,
    )
    wanted = [Wanted(FIRST, LATER, 1.1)]
    title = "First start: 4 KiB to a directory"
    outcome = stage.measure("first-start", title, [again, first], wanted, stage.short_rounds)
    copy.unlink()
    return outcome


def discard_repositories(kept: Sequence[Work]) -> None:
    """Leave the peers' repositories empty: they take as much memory as the store did."""
    for work in kept:
        work.prepare()


SUITES: dict[str, Callable[[Stage], Outcome]] = {
    "upload": upload,
    "download": download,
    "noise": noise,
    "peers": others,
    "options": options,
    "start": start,
    "start-peers": start_others,
    "first-start": first_start,
}
