"""Decides when listing a store costs fewer requests than lookups, and keeps the lists.

A store lists its chunks in the order of their hashes, a page at a time, and a file's chunks lie
anywhere among them. So a page covers all hashes up to its last one, and the covered share of all
hashes shows how many chunks the store has. The first page pays after several hits in succession,
since a repeated upload is then likely; and after many misses, since many new files are then likely,
each of which needs a lookup. A further page pays if the lookups so far, if as many follow, would
save more requests than the page costs. So a repeated upload of 80 chunks costs some ten requests at
a store of a thousand chunks, and is not slower at a store of a million.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

HITS_BEFORE_LISTING = 8
"""Hits in succession before the first page."""

MISSES_BEFORE_LISTING = 16
"""Misses in succession before it: more, since a first upload of one file looks up few chunks."""

COST_OF_A_PAGE = 8
"""The cost of a page, in requests for one chunk."""

LONGEST_LIST = 100_000
"""Maximum number of remembered chunks, with some 150 bytes each."""

TRUSTED_FOR = 60.0
"""Seconds for which a page is valid, since others can remove chunks."""

_ALL = 1 << 64


class Page:
    """Part of a store's list: chunks by their hash, with their lengths.

    It begins after the name `after`. `last` is its last name, of a chunk or anything else; `more`:
    there are further names.
    """

    __slots__ = ("after", "chunks", "last", "more")

    def __init__(
        self, after: str, chunks: Iterable[tuple[str, int]], last: str, *, more: bool
    ) -> None:
        self.after = after
        self.chunks = chunks
        self.last = last
        self.more = more


class Listing:
    """The decisions, without lock or I/O. Times are seconds of one clock."""

    def __init__(self) -> None:
        self._lengths: dict[bytes, int] = {}
        self._began = 0.0
        self._pages = 0
        self._complete = False
        self._off = False
        self._hits = 0  # in succession
        self._misses = 0  # in succession
        self._lookups = 0
        self._outdated = 0  # chunks that were listed, but before their message arrived
        self._paid = 0  # pages that paid before
        self._found: set[str] = set()  # some that were looked up and found
        self._unsure: set[str] = set()  # chunks that were stored since
        self.last = ""
        """The name after which the next page begins."""

    def answered(self, hash: str, hit: bool) -> None:
        """Record the result of a lookup in the store."""
        self._hits = self._hits + 1 if hit else 0
        self._misses = 0 if hit else self._misses + 1
        self._lookups += 1
        if hit and not self._pages and len(self._found) < HITS_BEFORE_LISTING:
            self._found.add(hash)

    def stored(self, hash: str) -> None:
        """Record that a chunk is being stored: its listed length is no longer valid."""
        if self._pages:
            self._unsure.add(hash)

    def length(self, hash: str, now: float, since: float = 0.0) -> int | None:
        """Return the length of a chunk, 0 if it is missing; None if no page covers it.

        What was there before a message arrived, at the time `since`, can have been removed before.
        So for that message only a later page shows that a chunk is there. When the pages lack as
        many chunks as they cost, they are fetched again.
        """
        if self._pages and now - self._began > TRUSTED_FOR:
            self._forget()
        if not self._pages or hash in self._unsure:
            return None
        if hash > self.last and not self._complete:
            return None
        length = self._lengths.get(bytes.fromhex(hash), 0)
        if length and since > self._began:
            self._outdated += 1
            if self._outdated >= COST_OF_A_PAGE * self._pages:
                paid = self._pages
                self._forget()
                self._paid = paid
            return None
        self._lookups += 1
        return length

    def pays(self) -> bool:
        """Return whether the next page pays."""
        if self._off or self._complete or len(self._lengths) >= LONGEST_LIST:
            return False
        if self._pages < self._paid:
            return True
        if not self._pages:
            return self._hits >= HITS_BEFORE_LISTING or self._misses >= MISSES_BEFORE_LISTING
        # A page covers the same share of the remaining hashes as before.
        told = int(self.last[:16].ljust(16, "0"), 16) / _ALL if _is_hex(self.last) else 0.0
        return self._lookups * told / self._pages >= COST_OF_A_PAGE

    def add(self, page: Page, began: float) -> None:
        """Add the next page, requested at `began`. A list that is inconsistent ends all listing."""
        if page.after != self.last:
            return  # earlier pages were dropped meanwhile
        if not self._pages:
            self._began = began
        for hash, length in page.chunks:
            self._lengths[bytes.fromhex(hash)] = length
        self._pages += 1
        self.last = page.last
        self._complete = not page.more
        covered = self._found if self._complete else {h for h in self._found if h <= self.last}
        missed = any(bytes.fromhex(hash) not in self._lengths for hash in covered)
        if missed or (page.more and page.last == page.after):
            self.give_up()

    def give_up(self) -> None:
        """Stop listing, and drop all pages."""
        self._forget()
        self._off = True

    def _forget(self) -> None:
        self._lengths.clear()
        self._unsure.clear()
        self._found.clear()
        self._pages = self._lookups = self._outdated = self._paid = 0
        self._complete = False
        self.last = ""


def _is_hex(name: str) -> bool:
    return not set(name[:16]) - set("0123456789abcdef")
