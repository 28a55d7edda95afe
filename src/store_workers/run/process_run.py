"""The run of a process: reads the owner's messages, carries them out and returns the status."""

from __future__ import annotations

from store_workers.errors import BadMessage, Cancelled
from store_workers.run.limits import within_limits
from store_workers.run.message_run import MessageRun, conclude, refuse_reserved_path
from store_workers.run.shared import Shared
from store_workers.run.supervisor import Heartbeats, Mailbox, Supervisor
from store_workers.threads import LONGEST_CLOSE
from store_workers.wire.events import FAILURE, NOT_ACCEPTED, SUCCESS, EventType
from store_workers.wire.messages import SessionStart, decode_first, message_id
from store_workers.wire.reader import MessageReader
from store_workers.wire.writer import EventWriter, OwnerGone

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Self

    from store_workers.run.session import Session
    from store_workers.stores.base import Store
    from store_workers.wire.messages import Message
    from store_workers.wire.writer import OwnerPipe


class ProcessRun:
    """Everything that a process does for its owner, from the first byte of the message on.

    `messages` is the descriptor to read from. Descriptors that were passed in are not closed.
    Several runs can exist in one process, in parallel or one after the other. Leaving the context
    ends everything that the run began.
    """

    def __init__(self, messages: int, pipe: OwnerPipe, environment: Mapping[str, str]) -> None:
        self._messages = messages
        self._events = EventWriter(pipe)
        self.mailbox = Mailbox(pipe.hurry)
        heartbeats = Heartbeats(self.mailbox.wake)
        self._supervisor = Supervisor(pipe, self.mailbox, heartbeats)
        self._shared = Shared(pipe, heartbeats, environment, self.mailbox.failed)
        self._message_run: MessageRun | None = None
        self._session: Session | None = None
        self._failed = 0

    def status(self) -> int:
        """Carry out the message. Return the exit status."""
        try:
            failure = self._run()
            if failure is None:
                return FAILURE if self._failed else SUCCESS
            if self._session is not None and not isinstance(failure, OwnerGone):
                self._session.stop(failure)
            self._shared.group.fail(failure)
            self._let_go()
            if isinstance(failure, OwnerGone):
                return self._unheard()
            return self._concluded(failure)
        except OwnerGone:
            return self._unheard()

    def close(self, seconds: float = LONGEST_CLOSE) -> bool:
        """End everything, and wait that long for the threads. Return whether all have ended."""
        self._let_go()
        return self._shared.close(seconds)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self.close()

    def _run(self) -> BaseException | None:
        try:
            self._shared.group.start(self._work, "work")
        except Exception as failure:  # noqa: BLE001 - whatever it is, it is reported
            return failure
        return self._supervisor.wait()

    def _work(self) -> None:
        """The work of the thread beside the supervisor, from the first byte of the message on."""
        reader = MessageReader(self._messages, self._shared.group.check)
        value = reader.first()
        self._events.id = message_id(value)
        message = within_limits(decode_first(value))
        if isinstance(message, SessionStart):
            end = self._prepare_session(message, reader).run()
            self._failed = end.failed
            self._events.emit(end)
        else:
            self._events.emit(self._prepare(message).work())
        self.mailbox.done()

    def _prepare(self, message: Message) -> MessageRun:
        """Check everything that can be checked before anything is opened."""
        from store_workers.files.descriptors import Reserved
        from store_workers.stores.location import locate

        refuse_reserved_path(message, Reserved(self._events.pipe.descriptor))
        location = locate(message, self._shared.environment)
        shared = self._shared
        shared.settle(message.settings)

        def open_store() -> tuple[Store, bool]:
            store = location.open(message.settings, shared.rate_limit)
            shared.close_with(store.close)
            return store, True

        self._message_run = MessageRun(
            message, location, shared, self._events, shared.group, open_store
        )
        return self._message_run

    def _prepare_session(self, start: SessionStart, reader: MessageReader) -> Session:
        """The same for a session: its store must be valid."""
        from store_workers.run.memory import give_back_large_blocks
        from store_workers.run.session import Session
        from store_workers.stores.location import locate

        give_back_large_blocks()
        if start.store is not None:
            locate(start, self._shared.environment)
        self._shared.settle(start.settings)
        self._session = Session(start, reader, self._shared, self._events)
        return self._session

    def _let_go(self) -> None:
        if self._message_run is not None:
            self._message_run.close()
        if self._session is not None:
            self._session.close()

    def _concluded(self, failure: BaseException) -> int:
        """Report the failure, and choose the status."""
        if self._message_run is not None and self._message_run.is_complete:
            self._shared.group.close(LONGEST_CLOSE)  # its success is being reported
        spent = self._message_run is not None and self._message_run.spent
        error = conclude(failure, self._events, spent=spent)
        if self._events.ended_with is not EventType.ERROR:
            return SUCCESS  # it was complete before the failure arrived
        if isinstance(error, Cancelled):
            return 128 + error.signal_number
        return NOT_ACCEPTED if isinstance(error, BadMessage) else FAILURE

    def _unheard(self) -> int:
        """Return the status if the last line cannot be written: a signal's, if any."""
        number = self.mailbox.signalled
        return 128 + number if number and not self._events.pipe.is_gone() else FAILURE
