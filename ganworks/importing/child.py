"""The child process of an import: limits first, then the work, with one answer in JSON.

It is started by `sandbox`, with two open files, the source and the draft, and an order on its standard input. On its
standard output it writes a JSON object for each step, `{"share": 0.3, "stage": "..."}`, and then one with the
`report`, or with the reason why the file is `refused`.
"""

import json
import mmap
import os
import resource
import sys
from typing import Any

import numpy as np  # noqa: F401  # before the limits, as it takes memory of its own

from ganworks.importing.convert import convert
from ganworks.importing.refusal import Refused


def main(source: int, draft: int) -> None:
    """Do what the order says with the two open files."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    order = json.load(sys.stdin)
    limit(order["limits"])

    def answer(**content: Any) -> None:
        answers.write(json.dumps(content) + "\n")

    try:
        data = memoryview(mmap.mmap(source, 0, access=mmap.ACCESS_READ))
        with os.fdopen(draft, "wb") as target:
            report = convert(
                data, target, order["words"], lambda share, stage: answer(share=share, stage=stage)
            )
        answer(report=report)
    except Refused as refusal:
        answer(refused=[refusal.reason, refusal.advice])
    except MemoryError:
        answer(
            refused=["it needs more memory than a file of its size may", "It is damaged, or made to do harm."]
        )


def limit(limits: dict[str, int]) -> None:
    """Set the limits of this process, which nothing in it can raise again."""
    for name, value in limits.items():
        kind = getattr(resource, f"RLIMIT_{name}")
        hard = resource.getrlimit(kind)[1]
        most = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (most, most))
