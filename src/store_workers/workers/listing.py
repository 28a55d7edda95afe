"""A file's chunks, and what is known of the file: from the message, or from its manifest."""

from __future__ import annotations

from store_workers.workers.fetcher import Fetcher

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from store_workers.stream.chunk_list import ChunkList
    from store_workers.wire.messages import ReadStart
    from store_workers.workers.context import Context
    from store_workers.workers.fetcher import Hashes


class Listing:
    """What a file consists of.

    `hashes` are its chunks, in order; `chunks` the same with their sizes, where a manifest told
    them. `size` and `sha256` are what the file must have, None where that is not known.
    """

    __slots__ = ("chunks", "hashes", "sha256", "size")

    def __init__(
        self,
        hashes: Hashes,
        size: int | None = None,
        sha256: str | None = None,
        chunks: ChunkList | None = None,
    ) -> None:
        self.hashes = hashes
        self.size = size
        self.sha256 = sha256
        self.chunks = chunks

    def checked(self, fetched: Iterable[bytes], first: int = 0) -> Iterable[bytes]:
        """Pass on the chunks as they are fetched, if they are as long as the manifest says.

        They are those from number `first` on.
        """
        if self.chunks is None:
            return fetched
        from store_workers.stream.manifest_reader import sized

        return sized(fetched, self.chunks, first)


def find_listing(message: ReadStart, context: Context) -> Listing:
    """The listing that a message means; a manifest is fetched and read to its end."""
    if message.manifest is None:
        return Listing(message.hashes or ())
    from store_workers.stream.manifest_reader import read_manifest

    def fetch(chunks: ChunkList) -> Iterator[bytes]:
        return Fetcher(chunks, context, of_manifest=True).chunks()

    manifest = read_manifest(message.manifest, fetch)
    header = manifest.header
    return Listing(manifest.chunks, header.size, header.sha256, manifest.chunks)
