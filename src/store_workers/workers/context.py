"""What a worker is given for one message, besides the message itself."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from store_workers.files.atomic_file import TemporaryFiles
    from store_workers.stores.base import Store
    from store_workers.stream.codec_threads import CodecThreads
    from store_workers.threads import ThreadGroup
    from store_workers.transfer.limiter import Places
    from store_workers.transfer.retry import Retrier
    from store_workers.wire.events import Event

    class Worker(Protocol):
        """Does the work of one message.

        `spent`: were bytes taken from, or written to, what cannot be rewound?
        """

        @property
        def spent(self) -> bool: ...
        def run(self) -> Event:
            """Do it; returns the terminal event."""

        def progress(self) -> Event:
            """How far it is."""

        def close(self) -> None:
            """Let go of what is held, once no thread of the group works any more."""


class Context:
    """The surroundings of one message's work.

    Of the process's run, and shared with other messages: `store`, `store_name`, which shows it
    without secrets, and the limiter behind `places`, which says how many requests may be in
    flight. Of this message alone: its thread `group`, which is over when the message is; `emit`,
    for its events; its `retrier`, which takes one of the `places` for each try; its temporary
    `files`. `threads` bounds how many compress or decompress at once. `is_first_in` says once a run
    of each directory that no file was written to it before: then it is tidied up.
    """

    __slots__ = (
        "emit",
        "files",
        "group",
        "is_first_in",
        "places",
        "retrier",
        "store",
        "store_name",
        "threads",
    )

    def __init__(
        self,
        *,
        group: ThreadGroup,
        emit: Callable[[Event], None],
        store: Store,
        store_name: str,
        places: Places,
        retrier: Retrier,
        files: TemporaryFiles,
        threads: CodecThreads,
        is_first_in: Callable[[str], bool],
    ) -> None:
        self.group = group
        self.emit = emit
        self.store = store
        self.store_name = store_name
        self.places = places
        self.retrier = retrier
        self.files = files
        self.threads = threads
        self.is_first_in = is_first_in
