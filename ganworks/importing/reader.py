"""From the bytes of a file to a generator: which kind of file it is, and which reader knows it.

Nothing here needs torch, and nothing that a file says is run, imported or believed.
"""

from collections.abc import Callable
from dataclasses import dataclass

from ganworks.importing import nvidia, torchfiles
from ganworks.importing.found import Found
from ganworks.importing.modules import Node, Reader
from ganworks.importing.pickles import Machine
from ganworks.importing.records import Module, Network, kind_of
from ganworks.importing.refusal import UNKNOWN, Budget, Refused
from ganworks.importing.vocabulary import Vocabulary

LEFT_OUT = {
    "G": "The training copy of the generator was left out: its running average (G_ema) is what draws best.",
    "D": "The discriminator was left out.",
    "augment_pipe": "The augmentation of training pictures was left out.",
    "training_set_kwargs": "Notes about the training set were left out.",
}


@dataclass(frozen=True)
class Content:
    """What a container held: the object, and the names that it was read with."""

    value: object
    vocabulary: Vocabulary
    container: str


def read(data: memoryview) -> Found:
    """The generator in a file. Refused says why there is none."""
    budget = Budget(len(data))
    return interpret(unpack(data, budget), budget)


def unpack(data: memoryview, budget: Budget) -> Content:
    """The object in a file, told by how the file begins."""
    start = bytes(data[:512])
    if start.startswith(b"PK\x03\x04"):
        return Content(*torchfiles.read_zip(data, budget), "torch")
    if start.startswith(torchfiles.LEGACY_START):
        return Content(*torchfiles.read_legacy(data, budget), "torch")
    if start.startswith(b"\x80"):
        vocabulary = Vocabulary(budget)
        machine = Machine(data, vocabulary, budget)
        value = machine.run()
        if machine.position != len(data):
            raise Refused("there is something behind the pickle in it")
        return Content(value, vocabulary, "pickle")
    raise Refused("it is no kind of checkpoint that is known here", UNKNOWN)


def interpret(content: Content, budget: Budget) -> Found:
    """The generator in an object."""
    value = content.value
    if isinstance(value, Module):
        found = _generator(value, budget)
        found.format = f"{found.format}, a whole module (PTI)"
    elif type(value) is dict and isinstance(value.get("G_ema"), Module):
        found = _generator(value["G_ema"], budget)
        found.ignored += [
            LEFT_OUT.get(str(key), f"The entry {str(key)[:40]!r} was left out.") for key in _others(value)
        ]
    else:
        raise Refused(f"it holds {_outline(value)}, and no generator that is known here", UNKNOWN)
    source_bytes = sum(content.vocabulary.source_bytes.values())
    if source_bytes:
        found.ignored.append(f"{source_bytes:,} bytes of embedded source text were not run.")
    return found


def _others(value: dict[object, object]) -> list[object]:
    """The entries of a snapshot beside the generator that hold something."""
    return [key for key, entry in value.items() if key != "G_ema" and entry is not None and entry != {}]


def _generator(module: Module, budget: Budget) -> Found:
    root = Reader(budget).node(module)
    read_as = _kind(root)
    return read_as(root, budget)


def _kind(root: Node) -> Callable[[Node, Budget], Found]:
    """Which of the public generators a tree of modules is."""
    synthesis = root.child("synthesis")
    first = synthesis.children.get("b4")
    if "input" in synthesis.children:
        return nvidia.read_stylegan3
    if first is not None and "const" in first.tensors:
        return lambda node, budget: nvidia.read_stylegan2(node)
    raise Refused("its generator is of an architecture that is not known here", UNKNOWN)


def _outline(value: object) -> str:
    """What an object is, in a few words."""
    if type(value) is dict:
        return "a dictionary with the keys " + (
            ", ".join(sorted(str(key)[:30] for key in value)[:6]) or "(none)"
        )
    if type(value) is tuple and all(isinstance(item, Network) for item in value):
        return f"{len(value)} networks"
    return kind_of(value)
