"""From the bytes of a file to a generator: which kind of file it is, and which reader knows it.

Nothing here needs torch, and nothing that a file says is run, imported or believed.
"""

from ganworks.importing import alis, nvidia, own, rosinality, strangers, tensorflow, torchfiles
from ganworks.importing.found import Found
from ganworks.importing.modules import Reader
from ganworks.importing.pickles import Machine
from ganworks.importing.records import Module, Network, kind_of
from ganworks.importing.refusal import UNKNOWN, Budget, Refused
from ganworks.importing.vocabulary import Vocabulary

LEFT_OUT = {
    "G": "The training copy of the generator was left out: its running average (G_ema) is what draws best.",
    "D": "The discriminator was left out.",
    "augment_pipe": "The augmentation of training pictures was left out.",
    "training_set_kwargs": "Notes about the training set were left out.",
    "g": "The training copy of the generator was left out: its running average (g_ema) is what draws best.",
    "d": "The discriminator was left out.",
    "g_optim": "The state of the generator's optimizer was left out.",
    "d_optim": "The state of the discriminator's optimizer was left out.",
    "opts": "Notes about the training were left out.",
    "args": "Notes about the training were left out.",
}
MAX_SENTENCES = 20
DECODER = "decoder."


def read(data: memoryview) -> Found:
    """The generator in a file. Refused says why there is none."""
    budget = Budget(len(data))
    if own.looks_own(data):
        return own.read_own(data, budget)
    value, vocabulary = unpack(data, budget)
    found = interpret(value, budget)
    source_bytes = sum(vocabulary.source_bytes.values())
    if source_bytes:
        found.ignored.append(f"{source_bytes:,} bytes of embedded source text were not run.")
    return found


def unpack(data: memoryview, budget: Budget) -> tuple[object, Vocabulary]:
    """The object in a file, told by how the file begins, and the names that it was read with."""
    start = bytes(data[:512])
    if start.startswith(b"PK\x03\x04"):
        return torchfiles.read_zip(data, budget)
    if start.startswith(torchfiles.LEGACY_START):
        return torchfiles.read_legacy(data, budget)
    if not start.startswith(b"\x80"):
        raise strangers.refusal(start)
    vocabulary = torchfiles.TorchVocabulary(budget)
    machine = Machine(data, vocabulary, budget)
    value = machine.run()
    if machine.position != len(data):
        raise Refused("there is something behind the pickle in it")
    return value, vocabulary


def interpret(value: object, budget: Budget) -> Found:
    """The generator in an object."""
    if isinstance(value, Module):
        found = _modules(value, budget)
        found.format += ", a whole module (PTI)"
        return found
    if type(value) is tuple and len(value) == 3 and all(isinstance(item, Network) for item in value):
        return tensorflow.read_tensorflow(value, budget)
    if type(value) is not dict:
        raise _unknown(value)
    average, whole, running = (value.get(key) for key in ("G_ema", "state_dict", "g_ema"))
    if isinstance(average, Module):
        found = _modules(average, budget)
        used = {"G_ema"}
    elif type(running) is dict:
        found = rosinality.read_rosinality(running, value.get("latent_avg"), budget)
        used = {"g_ema", "latent_avg"}
    elif type(whole) is dict and any(str(key).startswith(DECODER) for key in whole):
        decoder = {
            str(key)[len(DECODER) :]: part for key, part in whole.items() if str(key).startswith(DECODER)
        }
        found = rosinality.read_rosinality(decoder, value.get("latent_avg"), budget)
        found.format += ", the decoder of an encoder (e4e)"
        found.ignored.append("The encoder was left out.")
        used = {"state_dict", "latent_avg"}
    elif rosinality.MARK in value:
        return rosinality.read_rosinality(value, None, budget)
    else:
        raise _unknown(value)
    others = [
        str(key) for key, entry in value.items() if key not in used and entry is not None and entry != {}
    ]
    found.ignored += [
        LEFT_OUT.get(key, f"The entry {key[:40]!r} was left out.") for key in others[:MAX_SENTENCES]
    ]
    return found


def _modules(module: Module, budget: Budget) -> Found:
    """A generator that was kept as modules: which of the public ones it is shows in its parts."""
    root = Reader(budget).node(module)
    synthesis = root.child("synthesis")
    first = synthesis.children.get("b4")
    if "input" in synthesis.children:
        return nvidia.read_stylegan3(root, budget)
    if first is not None and "input" in first.children:
        return alis.read_alis(root)
    if first is not None and "const" in first.tensors:
        return nvidia.read_stylegan2(root, budget)
    raise Refused("its generator is of an architecture that is not known here", UNKNOWN)


def _unknown(value: object) -> Refused:
    outline = kind_of(value)
    if type(value) is dict:
        keys = ", ".join(repr(str(key)[:30]) for key in list(value)[:6])
        outline = f"a dictionary ({keys})" if keys else "an empty dictionary"
    return Refused(f"it holds {outline}, and no generator that is known here", UNKNOWN)
