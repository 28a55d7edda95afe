"""What a worker is given for one message, besides the message itself."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from store_workers.files.atomic_file import TemporaryFiles
    from store_workers.stores.base import Store
    from store_workers.threads import ThreadGroup
    from store_workers.transfer.limiter import Places
    from store_workers.transfer.retry import Retrier
    from store_workers.wire.events import Event


class Context:
    """The surroundings of one message's work.

    Of the process's run, and shared with other messages: `store`, `store_name`, which shows it
    without secrets, and the limiter behind `places`, which says how many requests may be in
    flight. Of this message alone: its thread `group`, which is over when the message is; `emit`,
    for its events; its `retrier`, which takes one of the `places` for each try; its temporary
    `files`. `threads` is how many may compress or decompress at once.
    """

    __slots__ = ("emit", "files", "group", "places", "retrier", "store", "store_name", "threads")

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
        threads: int,
    ) -> None:
        self.group = group
        self.emit = emit
        self.store = store
        self.store_name = store_name
        self.places = places
        self.retrier = retrier
        self.files = files
        self.threads = threads
