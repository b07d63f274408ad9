"""Answers that carry a file. Who may see it was decided before; how a browser may treat it is decided here."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import AsyncIterator, Iterator
from typing import Any
from urllib.parse import quote, urlsplit

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.files.base import File
from django.core.handlers.asgi import ASGIRequest
from django.db.models.fields.files import FieldFile
from django.http import (
    Http404,
    HttpRequest,
    HttpResponse,
    HttpResponseBase,
    HttpResponseRedirect,
    StreamingHttpResponse,
)
from django.utils.cache import get_conditional_response
from django.utils.http import content_disposition_header

from gallery.files import EXTENSIONS
from gallery.models import Image, SavedImage
from gallery.png import embed_recipe

KINDS = {
    Image: {"original": "file", "thumbnail": "thumbnail"},
    SavedImage: {"original": "file", "thumbnail": "thumbnail", "upscaled": "upscaled_file"},
}
FOUND = 302
INTERNAL_DISK = "/internal/media/"
INTERNAL_BUCKET = "/internal/bucket/"
STREAM_FROM_BYTES = 1_048_576
CHUNK_BYTES = 262_144


def serve(request: HttpRequest, picture: Image | SavedImage, kind: str) -> HttpResponseBase:
    """The file of this kind: to be shown, or to be kept with `?download=1`. 404 if there is none (yet)."""
    attribute = KINDS[type(picture)].get(kind)
    file: FieldFile | None = getattr(picture, attribute) if attribute else None
    if not file:
        raise Http404("There is no such file.")
    if "download" in request.GET:
        return _download(request, picture, kind, file)
    etag = f'"{picture.pk.hex[:12]}-{kind}-{picture.version}"'
    response = get_conditional_response(request, etag=etag) or _content(request, file)
    if response.status_code == FOUND:
        return response
    response["ETag"] = etag
    # With the version in its address a file never changes. Cookies vary, so another member's browser never reuses it.
    versioned = request.GET.get("v") == picture.version
    response["Cache-Control"] = "private, max-age=86400, immutable" if versioned else "private, no-cache"
    return _guarded(response, _mime_type(file))


def _download(
    request: HttpRequest, picture: Image | SavedImage, kind: str, file: FieldFile
) -> HttpResponseBase:
    mime_type = _mime_type(file)
    suffix = "" if kind == "original" else f"-{kind}"
    name = f"{safe_name(picture.name)}{suffix}.{EXTENSIONS[mime_type]}"
    disposition = content_disposition_header(as_attachment=True, filename=name) or "attachment"
    if (
        isinstance(picture, SavedImage)
        and picture.recipe
        and mime_type == "image/png"
        and kind != "thumbnail"
    ):
        with file.open("rb") as stream:
            response: HttpResponseBase = HttpResponse(embed_recipe(stream.read(), picture.recipe))
    else:
        response = _content(request, file, disposition)
        if response.status_code == FOUND:
            return response
    response["Content-Disposition"] = disposition
    response["Cache-Control"] = "private, no-store"
    return _guarded(response, mime_type)


def _guarded(response: HttpResponseBase, mime_type: str) -> HttpResponseBase:
    """Were a script ever in a file, no browser would run it."""
    if response.status_code != 304:
        response["Content-Type"] = mime_type
    response["Content-Security-Policy"] = "sandbox; default-src 'none'"
    response["X-Content-Type-Options"] = "nosniff"
    response["Cross-Origin-Resource-Policy"] = "same-origin"
    return response


def _mime_type(file: FieldFile) -> str:
    extension = (file.name or "").rpartition(".")[2]
    return next(mime_type for mime_type, known in EXTENSIONS.items() if known == extension)


def safe_name(name: str) -> str:
    """A file name that every system takes: no separators, no reserved or invisible characters, never empty."""
    plain = unicodedata.normalize("NFC", name)
    plain = re.sub(r'[\\/:*?"<>|\x00-\x1f\x7f\u200e\u200f\u202a-\u202e\u2066-\u2069]+', " ", plain)
    return " ".join(plain.split())[:80].strip(". ") or "picture"


def _content(request: HttpRequest, file: FieldFile, disposition: str = "") -> HttpResponseBase:
    if settings.MEDIA_DELIVERY != "proxied":
        return _handed_over(file, disposition)
    try:
        opened = file.open("rb")
    except FileNotFoundError as error:
        raise Http404("The file is gone.") from error
    asked = _range(request, opened.size)
    if asked is None:
        response = _streamed(request, opened, 0, opened.size)
    else:
        start, end = asked
        response = _streamed(request, opened, start, end)
        response.status_code = 206
        response["Content-Range"] = f"bytes {start}-{end - 1}/{opened.size}"
    response["Accept-Ranges"] = "bytes"
    return response


def _handed_over(file: FieldFile, disposition: str) -> HttpResponseBase:
    """Somebody else sends the file: the bucket, by an address that holds for minutes, or nginx."""
    storage, name = file.storage, file.name or ""
    if not settings.MEDIA_S3_BUCKET:
        answer = HttpResponse()
        answer["X-Accel-Redirect"] = f"{INTERNAL_DISK}{quote(name)}"
        return answer
    wishes = {"ResponseContentType": _mime_type(file), "ResponseContentDisposition": disposition or "inline"}
    url = storage.url(name, parameters=wishes)  # type: ignore[call-arg]  # BucketStorage's
    if settings.MEDIA_DELIVERY == "accel":
        signed = urlsplit(url)
        answer = HttpResponse()
        answer["X-Accel-Redirect"] = f"{INTERNAL_BUCKET}{signed.path.lstrip('/')}?{signed.query}"
        return answer
    found = HttpResponseRedirect(url)
    found["Cache-Control"] = f"private, max-age={settings.MEDIA_SIGNED_SECONDS - 60}"
    if disposition:
        found["Cache-Control"] = "private, no-store"
    return found


def _range(request: HttpRequest, size: int) -> tuple[int, int] | None:
    """One range of bytes that is asked for, as start and end. What is not understood is answered with the whole file."""
    match = re.fullmatch(r"bytes=(\d{0,15})-(\d{0,15})", request.headers.get("Range", ""))
    if match is None or "If-Range" in request.headers:
        return None
    first, last = match.groups()
    if first:
        start, end = int(first), min(int(last) + 1 if last else size, size)
    elif last:
        start, end = max(0, size - int(last)), size
    else:
        return None
    return (start, end) if start < end else None


def _streamed(request: HttpRequest, opened: File[Any], start: int, end: int) -> HttpResponseBase:
    if end - start <= STREAM_FROM_BYTES:
        with opened:
            opened.seek(start)
            return HttpResponse(opened.read(end - start))
    chunks = (
        _async_chunks(opened, start, end) if isinstance(request, ASGIRequest) else _chunks(opened, start, end)
    )
    response = StreamingHttpResponse(chunks)
    response["Content-Length"] = str(end - start)
    return response


def _chunks(opened: File[Any], start: int, end: int) -> Iterator[bytes]:
    with opened:
        opened.seek(start)
        while block := opened.read(min(CHUNK_BYTES, end - start)):
            start += len(block)
            yield block


async def _async_chunks(opened: File[Any], start: int, end: int) -> AsyncIterator[bytes]:
    """Under ASGI a plain iterator would be read to its end into memory before the first byte is sent."""
    try:
        await sync_to_async(opened.seek)(start)
        while block := await sync_to_async(opened.read)(min(CHUNK_BYTES, end - start)):
            start += len(block)
            yield block
    finally:
        await sync_to_async(opened.close)()
