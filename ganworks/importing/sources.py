"""The source texts that checkpoints carry for other loaders to run. Here they are never run; they are only looked at.

That is what keeps them harmless. The words below are a courtesy: a network's text has no use for them, and whoever put
them there means harm to those who open the file with another tool.
"""

import re

from ganworks.importing.records import Text
from ganworks.importing.refusal import Refused

HOSTILE = re.compile(
    rb"\bos\s*\.\s*(?:system|popen|exec[lv]\w*|spawn[lv]\w*|fork)\s*\("
    rb"|\bsubprocess\s*\.\s*(?:run|Popen|call|check_call|check_output)\b"
    rb"|\bsocket\s*\.\s*socket\b|\b__import__\s*\(|(?<![.\w])exec\s*\("
)


def inspect(source: str | Text) -> int:
    """How many bytes of text these are. Refused if they would reach beyond a network's business."""
    text = source.utf8 if isinstance(source, Text) else source.encode("utf-8", "replace")
    found = HOSTILE.search(text)
    if found:
        word = bytes(found[0]).decode("ascii", "replace")
        raise Refused(
            f"the source text in it, which would run if other tools opened it, has {word[:40]!r}",
            "It was not run. Do not open this file with any tool.",
        )
    return len(text)
