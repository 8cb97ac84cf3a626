"""Writes a block."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Final
from zlib import crc32

from toban.logs.store.block import (
    FOOTER,
    MAGIC,
    PAGE_PLACES,
    BlockName,
    Extent,
    column_seed,
    encode_index,
)
from toban.logs.store.chunk import ChunkInfo, Column
from toban.logs.store.signature import slice_signatures
from toban.tsdb.corruption import fsync_folder

UNFINISHED: Final = ".tmp"
"""Suffix of a block that is not finished: all its lines are elsewhere too."""

PackedChunk = tuple[ChunkInfo, list[bytes], bytes]
"""What is known of a chunk, its columns, and its signature."""


def write_block(folder: Path, name: BlockName, chunks: Iterable[PackedChunk], sealed_at: int) -> Path:
    """
    Write chunks as a block that survives a power cut, and return its file; a file of the same name is replaced.

    One chunk is in memory at a time, and all signatures. Raises ``OSError``, and what reading the chunks raises; then
    no file is left.
    """
    path = folder / name.file
    unfinished = path.with_name(path.name + UNFINISHED)
    try:
        with unfinished.open("wb") as file:
            _write(file, name, chunks, sealed_at)
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
    fsync_folder(folder)
    return path


def _write(file: IO[bytes], name: BlockName, chunks: Iterable[PackedChunk], sealed_at: int) -> None:
    def put(data: bytes, seed: int) -> Extent:
        extent = Extent(file.tell(), len(data), crc32(data, seed))
        file.write(data)
        return extent

    file.write(MAGIC)
    infos, extents, signatures = [], [], []
    for number, (info, columns, signature) in enumerate(chunks):
        infos.append(info)
        extents.append([put(columns[column], column_seed(name, number, column)) for column in Column])
        signatures.append(signature)
    start = file.tell()
    length = PAGE_PLACES * len(infos) // 8
    checksums: list[int] = []
    for part in slice_signatures(signatures):
        for place in range(0, len(part), length):
            seed = column_seed(name, len(checksums), len(Column))
            checksums.append(put(part[place : place + length], seed).checksum)
    index = put(encode_index(name, sealed_at, infos, extents, start, checksums), 0)
    footer = FOOTER.pack(*index, 0, MAGIC)
    file.write(FOOTER.pack(*index, crc32(footer[: 8 + 4 + 4]), MAGIC))
