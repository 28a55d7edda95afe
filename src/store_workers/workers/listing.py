"""The chunks of a file and its known properties, from the message or its manifest."""

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
    """The chunks and properties of a file.

    `hashes` are its chunks, in order; `chunks` the same with their sizes, from a manifest. `size`
    and `sha256` are the required values, None if not known.
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
        """Yield the chunks as they are fetched, and check their sizes against the manifest.

        `first` is the index of the first one.
        """
        if self.chunks is None:
            return fetched
        from store_workers.stream.manifest_reader import sized

        return sized(fetched, self.chunks, first)


def find_listing(message: ReadStart, context: Context) -> Listing:
    """Return the listing of a message; a manifest is fetched and read completely."""
    if message.manifest is None:
        return Listing(message.hashes or ())
    from store_workers.stream.manifest_reader import read_manifest

    def fetch(chunks: ChunkList) -> Iterator[bytes]:
        return Fetcher(chunks, context, of_manifest=True).chunks()

    manifest = read_manifest(message.manifest, fetch)
    header = manifest.header
    return Listing(manifest.chunks, header.size, header.sha256, manifest.chunks)
