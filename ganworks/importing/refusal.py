"""Why a file is not imported, and how much of it may be read."""

from ganworks.errors import CheckpointError

MIB = 1024 * 1024
MAX_SOURCE_BYTES = 4096 * MIB
MAX_EXPANSION = 4  # what is read from a file may take this many times the file's own size
MIN_BUDGET_BYTES = 16 * MIB  # or so much, as the records of a tiny file are larger than the file
OBJECT_BYTES = 96  # what a number, a text, a list or an entry of a dictionary takes
TENSOR_BYTES = 512  # what is known of a tensor
MAX_OPCODES = 400_000  # the largest public layouts need about 100,000
MAX_MARKS = 1_000
MAX_DEPTH = 20  # of modules; published ones have 5
MAX_NESTING = 100  # of all objects
MAX_OBJECTS = 10_000_000  # when shared ones are counted each time
MAX_TENSORS = 20_000
MAX_TEXT_BYTES = 64 * 1024  # longer texts stay where they are, undecoded
MAX_INTEGER_BYTES = 16

MAX_SENTENCE, MAX_NAME = 300, 60  # characters

DAMAGED = "Get it again from where it was published."
UNKNOWN = "Choose a checkpoint of StyleGAN2, StyleGAN3 or ALIS."


class Refused(Exception):
    """`reason` says what was found, as a part of a sentence, and `advice` what to do, as a whole one."""

    def __init__(self, reason: str, advice: str = DAMAGED) -> None:
        super().__init__(reason, advice)
        self.reason, self.advice = reason, advice

    def error(self, name: str) -> CheckpointError:
        """The sentence for a user. `name` is the file's. Whatever the file put into it, it is short and plain."""
        start, end = f"The file {readable(name, MAX_NAME)} cannot be imported: ", f". {self.advice}"
        return CheckpointError(start + readable(self.reason, MAX_SENTENCE - len(start) - len(end)) + end)


def readable(text: str, longest: int) -> str:
    """A text of a stranger's for people to read: nothing that moves a terminal's cursor or turns a line around."""
    plain = "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text[:longest]
    )
    return plain if len(text) <= longest else plain[:-1] + "…"


def refused(error: CheckpointError) -> Refused:
    """The refusal of a file in the engine's own format, from the sentences with which the engine refuses it."""
    reason = str(error).partition("cannot be used: ")[2].removesuffix(". Replace it with a good copy.")
    return Refused(reason or "it is not a generator of a version that is known here")


class Budget:
    """The bytes that may still be taken for what a file holds, and the instructions that may still be followed."""

    def __init__(self, file_bytes: int) -> None:
        self.left = max(MAX_EXPANSION * file_bytes, MIN_BUDGET_BYTES)
        self.opcodes_left = MAX_OPCODES

    def step(self) -> None:
        """Call this for each instruction of a pickle, and of those within it."""
        self.opcodes_left -= 1
        if self.opcodes_left < 0:
            raise Refused(f"it has more than {MAX_OPCODES:,} instructions")
        self.spend(OBJECT_BYTES)

    def spend(self, count: int) -> None:
        """Call this before the bytes are taken."""
        self.left -= count
        if self.left < 0:
            raise Refused(f"it would grow to more than {MAX_EXPANSION} times its size in memory")
