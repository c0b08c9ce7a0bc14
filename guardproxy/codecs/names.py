"""What features are called when a message does not say it.

Decides which names a bare matrix takes. Names that a message carries are left to the containers.
"""

from functools import lru_cache
from typing import Final

from guardproxy.codecs.base import CodecOptions
from guardproxy.errors import DecodeError

PREDICTION: Final = "prediction"
"""What predictions are called that carry no name."""

_CACHED_WIDTH: Final = 1024


class Names:
    """The names that a route, its model's signature and its profile have for features and predictions."""

    __slots__ = ("_features", "_order", "_signed", "outputs", "single")

    def __init__(self, options: CodecOptions) -> None:
        inputs = () if options.signature is None else options.signature.inputs
        self._features = options.features
        self._signed = tuple(column.name for column in inputs if column.width == 1)
        if len(self._signed) != len(inputs):
            self._signed = ()
        self._order = options.profile_order
        self.outputs = options.outputs
        self.single = options.outputs[:1] or (PREDICTION,)
        """The name of a lone column of predictions."""

    @property
    def lone_feature(self) -> bool:
        """Whether the route names exactly one feature."""
        return len(self._features) == 1

    def check_places(self, names: tuple[str, ...]) -> None:
        """Raise DecodeError when a message names its columns as the model's are called, but in another order."""
        known = next(
            (found for found in (self._features, self._signed, self._order) if len(found) == len(names)),
            names,
        )
        if known != names and any(
            name != place and name in known for name, place in zip(names, known, strict=True)
        ):
            raise DecodeError("the columns' names are in another order than the model's")

    def features(self, width: int) -> tuple[str, ...]:
        """Name the columns of a bare matrix: the route's names, else the signature's or the profile's when they are as
        many, else f0, f1, ... A width of 0 means that there is no row to tell. Raises DecodeError."""
        if self._features:
            if width not in {0, len(self._features)}:
                raise DecodeError(
                    f"the rows have {width} values, the route names {len(self._features)} features"
                )
            return self._features
        for names in (self._signed, self._order):
            if names and width in {0, len(names)}:
                return names
        return numbered(width) if width <= _CACHED_WIDTH else numbered.__wrapped__(width)


@lru_cache(maxsize=64)
def numbered(width: int) -> tuple[str, ...]:
    """Return f0, f1, ..."""
    return tuple(f"f{position}" for position in range(width))
