"""One picture of an open editor: what is to be drawn, told so that any process can draw it.

An `Editor` and a `Drawing` are plain data on both sides of the channel layer. Whoever made them has looked at the rows
and decided who may see the picture; whoever draws needs the models and the stored files, and no database.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID, uuid4

from accounts.models import User
from gallery.files import encode_png
from gallery.models import Image
from gallery.png import embed_recipe
from transforms import projections
from transforms.classes import class_labels
from transforms.engine import FileSource, Rendering, SeedSource, Source, engine
from transforms.errors import InvalidParams
from transforms.params import (
    BASES,
    MAX_PANORAMA_PX,
    MAX_TILE,
    Edit,
    Look,
    Panorama,
    edits_as_data,
    edits_from,
    whole,
)
from transforms.pictures import encode_exact, encode_live
from transforms.recipes import Recipe
from transforms.recipes import SeedSource as SeedOfRecipe

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

KEPT_EDITORS = 128
AS_IT_IS = Look()


class Format(StrEnum):
    """How a picture is drawn and encoded."""

    DRAFT = "draft"  # JPEG, maybe of fewer pixels: for a picture that moves
    JPEG = "jpeg"
    EXACT = "exact"  # lossless WebP: every pixel as it was drawn
    PNG = "png"  # lossless, with the recipe inside


@dataclass(frozen=True)
class Drawing:
    """One picture, or a tile of the panorama that begins with it."""

    edits: tuple[Edit, ...] = ()
    look: Look = AS_IT_IS
    format: Format = Format.DRAFT
    tile: int | None = None

    def as_data(self) -> dict[str, Any]:
        return {
            **self.look.as_data(),
            "edits": edits_as_data(self.edits),
            "format": self.format.value,
            "tile": self.tile,
        }

    @classmethod
    def from_data(cls, data: dict[str, Any]) -> Self:
        """Checked as if it came from a stranger. Raises InvalidParams."""
        try:
            chosen = Format(data.get("format", ""))
        except ValueError as error:
            raise InvalidParams("format", "A picture is drawn as draft, jpeg, exact or png.") from error
        return cls(
            edits=edits_from(data.get("edits")),
            look=Look.from_data(data),
            format=chosen,
            tile=None if data.get("tile") is None else whole(data, "tile", 0, MAX_TILE),
        )


@dataclass(frozen=True)
class Editor:
    """A picture opened for editing: all that its previews need, so that none of them asks the database."""

    source: Source
    recipe: Recipe
    num_ws: int
    counts: dict[str, int]
    """How many directions each basis has."""
    c_dim: int
    tile_px: int
    """The width of a tile of the panorama; 0 if the generator draws none."""
    at_once: int
    """How many pictures of the generator are drawn fastest in one pass."""
    viewer: str = field(default_factory=lambda: uuid4().hex)
    """Whose drafts these are: one open editor's, and nobody else's."""

    @classmethod
    def open(cls, image: Image) -> Editor:
        """Raises TransformError with a sentence when the picture cannot be edited."""
        return cls.of(projections.source_of(image), projections.recipe_of(image), uuid4().hex)

    @classmethod
    def of(cls, source: Source, recipe: Recipe, viewer: str) -> Editor:
        info = engine().generator_by_sha256(recipe.generator_sha256)
        return cls(
            source=source,
            recipe=recipe,
            num_ws=info.num_ws,
            counts={basis: len(engine().components(info.name, basis)) for basis in BASES},
            c_dim=info.c_dim,
            tile_px=info.resolution // 2 if info.scrolls else 0,
            at_once=engine().pictures_at_once(info.name),
            viewer=viewer,
        )

    def draw(self, drawing: Drawing) -> bytes:
        """The encoded picture. EngineError or TransformError with a sentence if it cannot be drawn."""
        if drawing.tile is not None:
            return self._tile(drawing, drawing.tile)
        [picture] = engine().render_together([self._rendering(drawing)])
        return self.encoded(picture, drawing)

    def kin(self, drawing: Drawing) -> Hashable | None:
        """What it has in common with others that can be drawn in the same pass (`drawn_together`); None: it has none."""
        if drawing.tile is not None or self.at_once == 1:
            return None
        return engine().kin(self._rendering(drawing))

    def encoded(self, picture: Picture, drawing: Drawing) -> bytes:
        """A picture, but no tile, in the format of the drawing; a PNG with its recipe."""
        if drawing.format is Format.PNG:
            recipe = self.recipe_with(drawing.edits, drawing.look)
            return embed_recipe(encode_png(picture).data, recipe.as_data())
        return encode_exact(picture) if drawing.format is Format.EXACT else encode_live(picture)

    def _rendering(self, drawing: Drawing) -> Rendering:
        look = drawing.look
        return Rendering(
            self._source(look),
            drawing.edits,
            look.noise_mode,
            look.move,
            draft=drawing.format is Format.DRAFT,
            viewer="" if drawing.format is Format.PNG else self.viewer,
        )

    def _tile(self, drawing: Drawing, number: int) -> bytes:
        """A tile of the panorama that begins with the picture; where it need not be exact, maybe of fewer pixels."""
        exact = drawing.format is Format.EXACT
        left = number * self.tile_px
        source = self._source(drawing.look)
        picture = engine().panorama(source, drawing.edits, left, self.tile_px, not exact, self.viewer)
        return encode_exact(picture) if exact else encode_live(picture)

    def recipe_with(self, edits: tuple[Edit, ...], look: Look) -> Recipe:
        source, recipe = self._source(look), self.recipe
        if isinstance(source, SeedSource):
            seed = SeedOfRecipe(source.seed, source.class_index)
            recipe = replace(recipe, source=seed, truncation_psi=source.truncation_psi)
        return replace(recipe, edits=edits, noise_mode=look.noise_mode, move=look.move)

    def check(self, edits: tuple[Edit, ...]) -> tuple[Edit, ...]:
        if any(edit.end > self.num_ws or edit.component >= self.counts[edit.basis] for edit in edits):
            raise InvalidParams("edits", "This generator has no such component or layer. Reload the page.")
        return edits

    def check_look(self, look: Look) -> Look:
        if look.class_index is not None and look.class_index >= self.c_dim:
            raise InvalidParams("class_index", "This generator has no such class. Reload the page.")
        return look

    def check_tiles(self, tiles: tuple[int, ...]) -> tuple[int, ...]:
        if not self.tile_px:
            raise InvalidParams("tiles", "This generator draws single pictures, and no panoramas.")
        for tile in tiles:
            Panorama.from_data({"left": tile * self.tile_px, "width": self.tile_px})
        return tiles

    def check_drawing(self, drawing: Drawing) -> Drawing:
        self.check(drawing.edits)
        self.check_look(drawing.look)
        if drawing.tile is not None:
            self.check_tiles((drawing.tile,))
        return drawing

    def _source(self, look: Look) -> Source:
        return self.source if isinstance(self.source, FileSource) else self.source.seen(look)

    def describe(self) -> dict[str, Any]:
        """What the page needs to show its sliders: the `ready` message."""
        info = engine().generator_by_sha256(self.recipe.generator_sha256)
        seed = self.source if isinstance(self.source, SeedSource) else None
        width, height = info.picture_size
        panorama = {"tile_px": self.tile_px, "height_px": height, "max_px": MAX_PANORAMA_PX}
        return {
            "type": "ready",
            "generator": info.name,
            "label": info.label,
            "resolution": info.resolution,
            "width": width,
            "height": height,
            "num_ws": info.num_ws,
            **{basis: _directions(info.name, basis) for basis in BASES},
            "ranges": {name: list(layers) for name, layers in engine().layer_ranges(info.name).items()},
            "truncation_psi": seed.truncation_psi if seed else None,
            "classes": class_labels(info.c_dim, info.classes) if seed else [],
            "class_index": seed.class_index if seed else None,
            "moves": info.moves,
            "scrolls": info.scrolls,
            "has_noise": info.has_noise,
            "panorama": panorama if info.scrolls else None,
        }

    def as_data(self) -> dict[str, Any]:
        return {
            "source": projections.source_as_data(self.source),
            "recipe": self.recipe.as_data(),
            "viewer": self.viewer,
        }


def drawn_together(wishes: Sequence[tuple[Editor, Drawing]]) -> list[Picture]:
    """
    The pictures of drawings of one `kin`, in one pass. Raises what any of them raises alone: draw each for itself then.
    """
    return engine().render_together([editor._rendering(drawing) for editor, drawing in wishes])


class Reopened:
    """The editors that another process opened and told of. All methods may be called from any thread."""

    def __init__(self, kept: int = KEPT_EDITORS) -> None:
        self._kept = kept
        self._editors: OrderedDict[str, Editor] = OrderedDict()
        self._lock = threading.Lock()

    def known(self, data: dict[str, Any]) -> Editor | None:
        """The editor, if it is open here; never waits for files."""
        told = _told(data)
        with self._lock:
            editor = self._editors.get(told)
            if editor is not None:
                self._editors.move_to_end(told)
        return editor

    def open(self, data: dict[str, Any]) -> Editor:
        """Opened here, and kept for a while. GeneratorMissing if its generator is not here."""
        source, recipe = projections.source_from_data(data["source"]), Recipe.from_data(data["recipe"])
        editor = Editor.of(source, recipe, data["viewer"])
        with self._lock:
            self._editors[_told(data)] = editor
            while len(self._editors) > self._kept:
                self._editors.popitem(last=False)
        return editor


def _told(data: dict[str, Any]) -> str:
    return json.dumps(data, sort_keys=True)


def _directions(generator: str, basis: str) -> list[dict[str, Any]]:
    return [
        {"index": item.index, "name": item.name, "variance": round(item.variance, 6)}
        for item in engine().components(generator, basis)
    ]


def open_editor(user: User, pk: UUID) -> Editor:
    """The editor of a picture that `user` may see. Raises Image.DoesNotExist for everybody else."""
    return Editor.open(Image.objects.select_related("projection").visible_to(user).get(pk=pk))
