"""Unpacking ZIP and gzip within limits: what counts is what comes out, never what a header says."""

import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath
from typing import BinaryIO, cast

from graph.retrieval.sources import UnreadableError, limits

_PIECE = 65_536
_BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)


class _ExhaustedError(UnreadableError):
    """Nothing more of an archive is unpacked."""


class _LimitedFile:
    """A file of which no big piece is read at once: zipfile reads an archive's whole directory in one piece."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell = file.seek, file.tell

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1, /) -> bytes:
        if size > limits.ARCHIVE_FILES * 300:  # an entry takes 46 bytes and its name
            raise _too_many_files()
        return self._file.read(size)


class Unpacking:
    """Unpacks an archive with the archives in it; the limits hold for all of them together."""

    def __init__(self, limit: int, longest: int) -> None:
        """`limit` is for all files together and `longest` for each, in bytes, unpacked."""
        self._limit = limit
        self._longest = longest
        self._left = self._limit
        self._left_for_archives = limits.NESTED_SIZE

    def files(
        self, file: BinaryIO, is_wanted: Callable[[str], bool], depth: int = 1
    ) -> Iterator[tuple[str, bytes | UnreadableError]]:
        """Yield the name of each wanted file and its content, or why it can't be read.

        Archives in the archive are unpacked too, without their names. Raises UnreadableError if the archive itself is
        broken or beyond the limits.
        """
        with _opened(file) as archive:
            for entry in archive.infolist():
                name = entry.filename
                if entry.is_dir() or not (is_wanted(name) or _is_archive(name)):
                    continue
                try:
                    check_name(name)
                    if _is_archive(name):
                        yield from self._nested(archive, entry, is_wanted, depth)
                    else:
                        yield name, self._content(archive, entry)
                except _ExhaustedError:
                    raise
                except UnreadableError as error:
                    yield name, error

    def _nested(
        self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo, is_wanted: Callable[[str], bool], depth: int
    ) -> Iterator[tuple[str, bytes | UnreadableError]]:
        if depth >= limits.NESTED:
            raise UnreadableError(f"is one of more than {limits.NESTED} ZIP archives inside each other")
        with tempfile.TemporaryFile() as file:
            for piece in _pieces(archive, entry):
                self._left_for_archives -= len(piece)
                if self._left_for_archives < 0:
                    most = megabytes(limits.NESTED_SIZE)
                    raise _ExhaustedError(f"the archives in it unpack to more than {most}")
                file.write(piece)
            yield from self.files(cast("BinaryIO", file), is_wanted, depth + 1)

    def _content(self, archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> bytes:
        content = bytearray()
        for piece in _pieces(archive, entry):
            content += piece
            self._left -= len(piece)
            if self._left < 0:
                raise _ExhaustedError(f"unpacks to more than {megabytes(self._limit)}")
            if len(content) > self._longest:
                raise UnreadableError(f"is longer than {megabytes(self._longest)}, unpacked")
        return bytes(content)


def _pieces(archive: zipfile.ZipFile, entry: zipfile.ZipInfo) -> Iterator[bytes]:
    if entry.flag_bits & 1:
        raise UnreadableError("is encrypted: export it without a password")
    if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UnreadableError("is packed in an unusual way: pack it with deflate, the method of every ZIP program")
    try:
        with archive.open(entry) as file:
            while piece := file.read(_PIECE):
                yield piece
    except _BROKEN as error:
        raise UnreadableError("is damaged in the archive: export it again") from error


def _opened(file: BinaryIO) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(cast("BinaryIO", _LimitedFile(file)))
    except _BROKEN as error:
        raise UnreadableError("not a ZIP archive, or damaged") from error
    if len(archive.infolist()) > limits.ARCHIVE_FILES:
        raise _too_many_files()
    return archive


def _too_many_files() -> UnreadableError:
    return UnreadableError(f"the archive holds more than {limits.ARCHIVE_FILES:,} files")


def _is_archive(name: str) -> bool:
    return name.lower().endswith(".zip")


def check_name(name: str) -> None:
    """Raise UnreadableError for a file name that leads out of its archive."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or name[1:2] == ":":
        raise UnreadableError("has a name that leads out of the archive")


def gunzip(content: bytes, limit: int) -> bytes:
    """Return the content of a gzip file, of one or more members; raises UnreadableError, also beyond `limit` bytes."""
    unpacked = bytearray()
    while content:
        member = zlib.decompressobj(wbits=31)
        try:
            unpacked += member.decompress(content, limit + 1 - len(unpacked))
        except zlib.error as error:
            raise UnreadableError("not valid gzip") from error
        if len(unpacked) > limit:
            raise UnreadableError(f"unpacks to more than {megabytes(limit)}")
        if not member.eof:
            raise UnreadableError("ends in the middle of its gzip data")
        content = member.unused_data.lstrip(b"\0")
    return bytes(unpacked)


def megabytes(size: int) -> str:
    """Return a size for messages."""
    return f"{size // 2**20:,} MiB" if size >= 2**20 else f"{size:,} bytes"
