"""Writing a PNG row by row, so that a picture far larger than memory can be stored.

Format: PNG specification, third edition (W3C, 2025), chapters 5 (chunks), 9 (filters) and 11 (IHDR, iCCP).
"""

from __future__ import annotations

import struct
import zlib
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}
"""Channels to the PNG's colour type: grey, grey with alpha, RGB, RGBA."""

SUB, UP = 1, 2
ROWS_AT_ONCE = 64


class PngStream:
    """A PNG of known size that rows are appended to, from the top. Call `finish` after the last."""

    def __init__(
        self, file: BinaryIO, *, width: int, height: int, channels: int, icc_profile: bytes | None = None
    ) -> None:
        self._file = file
        self._row_shape = (width, channels)
        self._above = np.zeros((1, width * channels), np.uint8)
        self._compressor = zlib.compressobj(6)
        file.write(b"\x89PNG\r\n\x1a\n")
        self._chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, COLOUR_TYPES[channels], 0, 0, 0))
        if icc_profile is not None:
            self._chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc_profile))

    def append(self, rows: Pixels) -> None:
        """Append rows, [K, width, channels] uint8."""
        if rows.shape[1:] != self._row_shape:
            raise ValueError(f"Rows of the shape {rows.shape[1:]} do not fit a PNG of {self._row_shape}.")
        for start in range(0, len(rows), ROWS_AT_ONCE):
            part = self._compressor.compress(self._filtered(rows[start : start + ROWS_AT_ONCE]).tobytes())
            if part:
                self._chunk(b"IDAT", part)

    def finish(self) -> None:
        """Write what remains and the end mark."""
        self._chunk(b"IDAT", self._compressor.flush())
        self._chunk(b"IEND", b"")

    def _filtered(self, rows: Pixels) -> Pixels:
        """Each row as its difference to the left or to above, the smaller: [K, 1 + width*channels]."""
        channels = self._row_shape[1]
        flat = rows.reshape(len(rows), -1)
        left = np.zeros_like(flat)
        left[:, channels:] = flat[:, :-channels]
        sub, up = flat - left, flat - np.concatenate([self._above, flat[:-1]])
        up_is_smaller = np.abs(up.view(np.int8).astype(np.int16)).sum(axis=1) < np.abs(
            sub.view(np.int8).astype(np.int16)
        ).sum(axis=1)
        self._above = flat[-1:].copy()
        kinds = np.where(up_is_smaller, UP, SUB).astype(np.uint8)[:, None]
        return np.concatenate([kinds, np.where(up_is_smaller[:, None], up, sub)], axis=1)

    def _chunk(self, name: bytes, data: bytes) -> None:
        self._file.write(
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )
