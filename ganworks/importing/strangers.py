"""Files that people take for checkpoints, each told by how it begins, with what to do about it."""

from ganworks.importing.refusal import UNKNOWN, Refused

STRANGERS: tuple[tuple[bytes, str, str], ...] = (
    (
        b"version https://git-lfs",
        "it is a pointer of Git LFS, a few lines that stand for a file",
        "Fetch the file itself with `git lfs pull`, or from the site's download button.",
    ),
    (b"\x89PNG", "it is a picture", UNKNOWN),
    (b"\xff\xd8\xff", "it is a picture", UNKNOWN),
    (b"GIF8", "it is a picture", UNKNOWN),
    (b"RIFF", "it is a picture, a sound or a film", UNKNOWN),
    (b"\x1f\x8b", "it is compressed (gzip)", "Unpack it first."),
    (b"7z\xbc\xaf", "it is a 7z archive", "Unpack it first."),
    (b"Rar!", "it is a RAR archive", "Unpack it first."),
    (b"BZh", "it is compressed (bzip2)", "Unpack it first."),
    (b"\xfd7zXZ", "it is compressed (xz)", "Unpack it first."),
    (b"\x89HDF", "it is a file of HDF5, as Keras writes it", UNKNOWN),
    (b"%PDF", "it is a PDF", UNKNOWN),
    (b"\x7fELF", "it is a program", UNKNOWN),
    (b"MZ", "it is a program", UNKNOWN),
    (b"\x93NUMPY", "it is a single array of numpy", UNKNOWN),
)
WEB_PAGE = (
    "it is a web page",
    "The download was refused, or wants a confirmation: open the address in a browser, and see that the file has the "
    "size that its publisher names.",
)


def refusal(start: bytes) -> Refused:
    """What to say of a file that begins with these bytes and is no checkpoint."""
    for signature, reason, advice in STRANGERS:
        if start.startswith(signature):
            return Refused(reason, advice)
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype", b"<html", b"<?xml", b"<head")):
        return Refused(*WEB_PAGE)
    if start[257:262] == b"ustar":
        return Refused("it is a tar archive", "Unpack it first.")
    if text.startswith((b"{", b"[")):
        return Refused("it is a text (JSON)", UNKNOWN)
    if b"\0" not in start and all(byte >= 32 or byte in b"\t\r\n\f" for byte in start):
        return Refused("it is a text", UNKNOWN)
    return Refused("it is no kind of checkpoint that is known here", UNKNOWN)
