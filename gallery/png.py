"""Text chunks of PNG files: a recipe travels inside the picture, and the pixels are not touched.

PNG specification (third edition), sections 5.3 (chunk layout) and 11.3.3.4 (iTXt).
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from typing import Any

SIGNATURE = b"\x89PNG\r\n\x1a\n"
RECIPE_KEYWORD = "pixellift-recipe"
RECIPE_LIMIT_BYTES = 262_144


def embed_recipe(png: bytes, recipe: dict[str, Any]) -> bytes:
    """The same picture with `recipe` in an iTXt chunk behind its header. Raises `ValueError` if it is no PNG."""
    _, header_end = next(_chunks(png))
    text = json.dumps(recipe, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
    # Keyword, null, not compressed, method 0, no language, no translated keyword, text.
    body = RECIPE_KEYWORD.encode("latin-1") + b"\0\0\0\0\0" + text.encode()
    return png[:header_end] + _chunk(b"iTXt", body) + png[header_end:]


def read_recipe(png: bytes) -> Any:
    """The recipe inside a PNG as parsed JSON, or None. Raises `ValueError` if the file or the JSON is damaged."""
    prefix = RECIPE_KEYWORD.encode("latin-1") + b"\0\0\0\0\0"
    for (kind, body), _ in _chunks(png):
        if kind == b"iTXt" and body.startswith(prefix):
            if len(body) > RECIPE_LIMIT_BYTES:
                raise ValueError("The recipe in this picture is too long.")
            return json.loads(body.removeprefix(prefix).decode())
    return None


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _chunks(png: bytes) -> Iterator[tuple[tuple[bytes, bytes], int]]:
    """Kind and body of each chunk, and where the chunk ends."""
    if not png.startswith(SIGNATURE):
        raise ValueError("This is not a PNG file.")
    start = len(SIGNATURE)
    while start < len(png):
        if start + 12 > len(png):
            raise ValueError("This PNG file ends too early.")
        (length,) = struct.unpack_from(">I", png, start)
        end = start + 12 + length
        if end > len(png):
            raise ValueError("This PNG file ends too early.")
        yield (png[start + 4 : start + 8], png[start + 8 : start + 8 + length]), end
        start = end
