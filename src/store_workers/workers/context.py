"""The resources of a worker for one message."""

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
        """Carries out one message.

        `spent`: bytes were read from, or written to, something that cannot be rewound.
        """

        @property
        def spent(self) -> bool: ...
        def run(self) -> Event:
            """Do the work. Return the terminal event."""

        def progress(self) -> Event:
            """Return the current PROGRESS event."""

        def close(self) -> None:
            """Release resources, when no thread of the group works any more."""


class Context:
    """The resources of one message's work.

    Shared with other messages: `store`; `store_name`, its name without secrets; and the limiter
    behind `places`, which limits the requests in flight. Only of this message: its thread `group`,
    which ends with the message; `emit`, for its events; its `retrier`, which takes one of the
    `places` for each try; its temporary `files`. `threads` limits how many compress or decompress
    at once. `is_first_in` returns true once a run for each directory, for the removal of old
    temporary files.
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
