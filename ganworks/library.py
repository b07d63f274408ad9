"""All weights of an installation: what there is (from headers alone), and each network loaded once and kept.

A folder `<name>/` in one of the library's directories holds `generator.safetensors` with, beside it,
`components.safetensors` and perhaps `critic.safetensors` and `encoder.safetensors`; or it holds `upscaler.safetensors`.
"""

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ganworks.errors import BasisNotFound, CheckpointError
from ganworks.info import (
    COMPONENTS_FILE,
    CRITIC_FILE,
    ENCODER_FILE,
    FACTORS_FILE,
    GENERATOR_FILE,
    STARTERS,
    UPSCALER_FILE,
    GeneratorInfo,
    UpscalerInfo,
    not_found,
    read_generator_info,
    read_upscaler_info,
)

if TYPE_CHECKING:
    from ganworks.components import Basis
    from ganworks.encoder import Encoder
    from ganworks.generator import Generator
    from ganworks.perceptual import Critic
    from ganworks.superresolution import Upscaler

logger = logging.getLogger(__name__)


@dataclass
class _Entry:
    """A place in the cache; `ready` is set once `value` or `error` is there."""

    cost_bytes: int
    ready: threading.Event = field(default_factory=threading.Event)
    value: Any = None
    error: BaseException | None = None


class _Cache:
    """Loads each key once, however many threads ask at a time, and forgets what was used longest ago."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self._entries: OrderedDict[tuple[object, ...], _Entry] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, key: tuple[object, ...], cost_bytes: int, load: Callable[[], Any]) -> Any:
        with self._lock:
            entry = self._entries.get(key)
            mine = entry is None
            if entry is None:
                entry = self._entries[key] = _Entry(cost_bytes)
            self._entries.move_to_end(key)
            self._make_room(key)
        if mine:
            self._fill(key, entry, load)
        entry.ready.wait()
        if entry.error is not None:
            raise entry.error
        return entry.value

    def _fill(self, key: tuple[object, ...], entry: _Entry, load: Callable[[], Any]) -> None:
        try:
            entry.value = load()
        except BaseException as error:
            entry.error = error
            with self._lock:
                if self._entries.get(key) is entry:
                    del self._entries[key]
        finally:
            entry.ready.set()

    def _make_room(self, keep: tuple[object, ...]) -> None:
        """
        Forget the oldest entries until the budget holds; what is in use lives on until its users let it go.
        """
        for key in list(self._entries):
            if self.used_bytes() <= self.budget_bytes:
                return
            if key != keep and self._entries[key].ready.is_set():
                del self._entries[key]

    def clear(self) -> None:
        """Forget all that is not just being loaded."""
        with self._lock:
            for key in [key for key, entry in self._entries.items() if entry.ready.is_set()]:
                del self._entries[key]

    def used_bytes(self) -> int:
        return sum(entry.cost_bytes for entry in self._entries.values())

    def loaded(self) -> list[tuple[object, ...]]:
        """What is loaded, without what is being loaded."""
        with self._lock:
            return [key for key, entry in self._entries.items() if entry.ready.is_set() and not entry.error]


FIRST = "portraits"
"""The starter that people meet first: it leads all lists, so forms propose it."""


class Library:
    """
    Generators and upscalers found in `directories` (the first to have a name wins) and among the starters.

    device: as in `choose_device`. memory_budget_bytes bounds what is kept loaded, measured by the sizes of
    the files; one network larger than the budget still loads. All methods may be called from any thread.
    """

    def __init__(
        self,
        directories: Sequence[str | Path] = (),
        device: str = "auto",
        memory_budget_bytes: int = 2_000_000_000,
    ) -> None:
        self.directories = [*(Path(directory) for directory in directories), STARTERS]
        self.device = device
        self._cache = _Cache(memory_budget_bytes)
        self._infos: dict[tuple[object, ...], Any] = {}

    @property
    def loaded_bytes(self) -> int:
        """What is kept loaded now."""
        return self._cache.used_bytes()

    def resident(self) -> list[str]:
        """The names of the generators that are loaded now, sorted."""
        return sorted(
            {Path(str(key[1])).parent.name for key in self._cache.loaded() if key[0] == "generator"}
        )

    def unload(self) -> None:
        """Forget all networks and directions, and give their memory back to the device."""
        from ganworks.devices import free_memory

        self._cache.clear()
        free_memory()

    def names(self) -> list[str]:
        """The names of all generators."""
        return [info.name for info in self.generators()]

    def generators(self) -> list[GeneratorInfo]:
        """All generators whose header is sound: `FIRST`, then the others by label; torch is not loaded for this."""
        found, _ = self._scan(GENERATOR_FILE, read_generator_info)
        return sorted(found, key=lambda info: (info.name != FIRST, info.label.casefold(), info.name))

    def upscalers(self) -> list[UpscalerInfo]:
        """All upscalers whose header is sound, sorted by label."""
        found, _ = self._scan(UPSCALER_FILE, read_upscaler_info)
        return sorted(found, key=lambda info: (info.label.casefold(), info.name))

    def problems(self) -> list[str]:
        """One sentence for each weights file that cannot be used."""
        return [
            *self._scan(GENERATOR_FILE, read_generator_info)[1],
            *self._scan(UPSCALER_FILE, read_upscaler_info)[1],
        ]

    def info(self, name: str) -> GeneratorInfo:
        """What is known of a generator; GeneratorNotFound if there is none of that name."""
        found = self.generators()
        for info in found:
            if info.name == name:
                return info
        raise not_found("generator", name, [info.name for info in found])

    def by_sha256(self, sha256: str) -> GeneratorInfo | None:
        """The generator with that content hash, if it is here."""
        return next((info for info in self.generators() if info.sha256 == sha256), None)

    def generator(self, name: str) -> "Generator":
        """The generator of that name, loaded once and kept."""
        from ganworks.devices import choose_device
        from ganworks.generator import load_generator

        info = self.info(name)
        key = ("generator", str(info.path), info.sha256)
        generator: Generator = self._cache.get(
            key, info.bytes, lambda: load_generator(info, choose_device(self.device))
        )
        return generator

    def basis(self, name: str, factors: bool = False) -> "Basis":
        """
        The principal components of a generator, or its closed-form factors. BasisNotFound if they have not been
        computed, BasisMismatch if they are another generator's.
        """
        from ganworks.components import open_basis

        info = self.info(name)
        path = info.path.with_name(FACTORS_FILE if factors else COMPONENTS_FILE)
        if not path.is_file():
            raise BasisNotFound(
                f"The generator {info.label} has no directions yet. "
                f"Compute them once with: python -m ganworks.components {info.path.parent}"
            )
        basis: Basis = self._cache.get(
            _file_key("components", path), path.stat().st_size, lambda: open_basis(path)
        )
        basis.check_generator(info.sha256)
        return basis

    def critic(self, name: str) -> "Critic | None":
        """The critic of a generator (a perceptual distance from its discriminator), if it has one."""
        from ganworks.devices import choose_device
        from ganworks.perceptual import load_critic

        path = self.info(name).path.with_name(CRITIC_FILE)
        if not path.is_file():
            return None
        critic: Critic = self._cache.get(
            _file_key("critic", path),
            path.stat().st_size,
            lambda: load_critic(path, choose_device(self.device)),
        )
        return critic

    def encoder(self, name: str) -> "Encoder | None":
        """
        The encoder of a generator, loaded once and kept, if it has one. One that was left behind by another generator
        is not used, and a warning is logged.
        """
        from ganworks.devices import choose_device
        from ganworks.encoder import load_encoder

        info = self.info(name)
        path = info.path.with_name(ENCODER_FILE)
        if not path.is_file():
            return None
        encoder: Encoder = self._cache.get(
            _file_key("encoder", path),
            path.stat().st_size,
            lambda: load_encoder(path, choose_device(self.device)),
        )
        if encoder.generator_sha256 != info.sha256:
            logger.warning(
                "The encoder in %s belongs to another generator, and is not used.", path.parent.name
            )
            return None
        return encoder

    def upscaler(self, name: str) -> "Upscaler":
        """The upscaler of that name, loaded once and kept; UpscalerNotFound if there is none."""
        from ganworks.devices import choose_device
        from ganworks.superresolution import open_upscaler

        found = self.upscalers()
        info = next((info for info in found if info.name == name), None)
        if info is None:
            raise not_found("upscaler", name, [info.name for info in found])
        path, size = info.path, info.bytes
        device = str(choose_device(self.device))
        upscaler: Upscaler = self._cache.get(
            ("upscaler", str(path), info.sha256), size, lambda: open_upscaler(path, device=device)
        )
        return upscaler

    # The door's names for the same.
    open_generator = generator
    open_basis = basis
    open_critic = critic
    open_encoder = encoder
    open_upscaler = upscaler

    def _scan(self, file_name: str, read: Callable[[Path, str], Any]) -> tuple[list[Any], list[str]]:
        """The infos of all sound files of that name, and a sentence for each that is not."""
        found: dict[str, Any] = {}
        problems: list[str] = []
        for path in self._files(file_name):
            if path.parent.name in found:
                continue
            result = self._read_once(path, read)
            if isinstance(result, CheckpointError):
                problems.append(str(result))
            else:
                found[path.parent.name] = result
        return list(found.values()), problems

    def _files(self, file_name: str) -> Iterator[Path]:
        for directory in self.directories:
            if directory.is_dir():
                yield from sorted(directory.glob(f"*/{file_name}"))

    def _read_once(self, path: Path, read: Callable[[Path, str], Any]) -> Any:
        """
        A file's info, or the CheckpointError that reading it gave; read again only when the file has changed.
        """
        try:
            files = (COMPONENTS_FILE, CRITIC_FILE, FACTORS_FILE)
            beside = sum(path.with_name(name).is_file() << n for n, name in enumerate(files))
            key = (*_file_key(read.__name__, path), beside)
            if key not in self._infos:
                self._infos[key] = read(path, path.parent.name)
        except CheckpointError as error:
            logger.warning("%s", error)
            self._infos[key] = error
        except OSError as error:
            return CheckpointError(
                f"The file {path.parent.name}/{path.name} cannot be read: {error.strerror}."
            )
        return self._infos[key]


def _file_key(kind: str, path: Path) -> tuple[str, str, int, int]:
    status = path.stat()
    return kind, str(path), status.st_size, status.st_mtime_ns
