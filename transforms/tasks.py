"""Where `rundramatiq` looks for actors."""

from transforms.actors import work

__all__ = ["work"]
