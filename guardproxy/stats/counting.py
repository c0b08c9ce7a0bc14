"""From screened exchanges to what they add to each bucket: counts by cell, moments, tallies of rolling functions.

Decides which bucket a row belongs to: that of its own time, else of the exchange's, else of its arrival. Rows of the same fields
are counted together. What is kept of the sums, and for how long, is left to `ledger`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from guardproxy.decision import Reason
from guardproxy.stats.counts import Sums, moments_of, no_moments
from guardproxy.stats.layout import OUTPUT, Layout, Span
from guardproxy.stats.placing import Places, Placing
from guardproxy.stats.recent import NO_RECENTS, BoundRecents, Recents
from guardproxy.stats.recent_tally import AnyTally
from guardproxy.stats.windows import Sample, time_of, times_of
from guardproxy.table import Floats, Table, stack_tables

MAX_SHAPES: Final = 256
"""Sets of fields that are found once; a client that invents names beyond it only makes them be found again."""

_Shape: TypeAlias = tuple[tuple[str, ...] | None, tuple[str, ...] | None]
_Found: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]
_REASONS: Final = {reason: place for place, reason in enumerate(Reason)}


class Increment(NamedTuple):
    """What some rows add to a bucket. `moments` has the shape (layout.numbers, MOMENTS)."""

    bucket: int
    rows: int
    counts: Sums
    moments: Floats
    tallies: Mapping[str, AnyTally]


class Counting:
    """Counts samples by the layout of a model, and its rolling functions."""

    def __init__(self, layout: Layout, bucket_s: float, recents: Recents = NO_RECENTS) -> None:
        """Count in buckets of `bucket_s` seconds. `offset` is how far the clock of the buckets is ahead of that of arrivals."""
        self.layout = layout
        self.offset = 0.0
        self.recents = recents
        self._bucket_s = bucket_s
        self._shapes: dict[_Shape, _Shaped] = {}

    def follow(self, recents: Recents) -> None:
        """Tally other rolling functions from now on."""
        self.recents = recents
        self._shapes.clear()

    def of(self, samples: Sequence[Sample]) -> Iterator[Increment]:
        """Yield what the samples add, one or more increments a bucket."""
        for shape, group in _by_shape(samples).items():
            yield from self._of_shape(shape, group)
        for sample in samples:
            if sample.decision.reason is not None:
                counts = np.zeros(self.layout.size, dtype=np.int64)
                counts[self.layout.reasons.start + _REASONS[sample.decision.reason]] = 1
                bucket = int(time_of(sample, self.offset) // self._bucket_s)
                yield Increment(bucket, 0, counts, no_moments(len(self.layout.numbers)), {})

    def _of_shape(self, shape: _Shape, samples: Sequence[Sample]) -> Iterator[Increment]:
        rows = [sample.decision.rows for sample in samples]
        times = times_of(samples, rows, self.offset)
        if not len(times):
            return
        batch = _Batch(
            times,
            np.concatenate([sample.decision.outcomes for sample in samples]).astype(np.int64),
            None if shape[0] is None else _stacked([sample.features for sample in samples]),
            None if shape[1] is None else _stacked([sample.predictions for sample in samples]),
        )
        shaped = self._shaped(shape)
        buckets = np.floor(times / self._bucket_s).astype(np.int64)
        places, numbers = shaped.places(batch), shaped.numbers(batch)
        first = int(buckets[0])
        if (buckets == first).all():
            yield self._increment(first, places, numbers, shaped.tallied(batch))
            return
        for number in np.unique(buckets).tolist():
            here = np.flatnonzero(buckets == number)
            tallies = shaped.tallied(batch, here)
            yield self._increment(number, places[:, here], numbers[:, here], tallies)

    def _increment(
        self, bucket: int, places: Places, numbers: Floats, tallies: Mapping[str, AnyTally]
    ) -> Increment:
        counts = np.bincount(places.ravel(), minlength=self.layout.size)
        return Increment(bucket, places.shape[1], counts, moments_of(numbers), tallies)

    def _shaped(self, shape: _Shape) -> "_Shaped":
        found = self._shapes.get(shape)
        if found is None:
            if len(self._shapes) >= MAX_SHAPES:
                self._shapes.clear()
            found = self._shapes[shape] = _Shaped(self.layout, self.recents, *shape)
        return found


class _Batch(NamedTuple):
    """Rows of exchanges with the same fields; a table is None where the exchanges have none."""

    times: Floats
    outcomes: Places
    features: Table | None
    predictions: Table | None


class _Shaped:
    """How rows with these fields are counted."""

    def __init__(
        self,
        layout: Layout,
        recents: Recents,
        features: tuple[str, ...] | None,
        predictions: tuple[str, ...] | None,
    ) -> None:
        inputs = [span for span in layout.spans if not span.name.startswith(OUTPUT)]
        outputs = [span for span in layout.spans if span.name.startswith(OUTPUT)]
        self._outcomes = layout.outcomes.start
        self._features = _placing(inputs, features)
        self._predictions = _placing(outputs, predictions)
        self._lines = len(layout.numbers)
        self._inputs = _found(layout.numbers, "", features)
        self._outputs = _found(layout.numbers, OUTPUT, predictions)
        self._recents: BoundRecents | None = None
        if features is not None and recents.arguments:
            self._recents = recents.bind(features, predictions)

    def places(self, batch: _Batch) -> Places:
        """Return the places that each row counts in, shape (any, rows)."""
        places = [(batch.outcomes + self._outcomes)[None, :]]
        if self._features is not None and batch.features is not None:
            places.append(self._features.of(batch.features, batch.times))
        if self._predictions is not None and batch.predictions is not None:
            places.append(self._predictions.of(batch.predictions, batch.times))
        return np.concatenate(places)

    def numbers(self, batch: _Batch) -> Floats:
        """Return the numbers whose moments are kept, shape (layout.numbers, rows); NaN where there is none."""
        block = np.full((self._lines, len(batch.times)), np.nan)
        for table, (lines, positions) in ((batch.features, self._inputs), (batch.predictions, self._outputs)):
            if table is not None and len(lines):
                block[lines] = table.block[positions]
        return block

    def tallied(self, batch: _Batch, rows: NDArray[np.int64] | None = None) -> Mapping[str, AnyTally]:
        """Return what the rolling functions count of all rows, or of some."""
        if self._recents is None or batch.features is None:
            return {}
        if rows is None:
            return self._recents.tallied(batch.features, batch.predictions)
        predictions = None if batch.predictions is None else _rows_of(batch.predictions, rows)
        return self._recents.tallied(_rows_of(batch.features, rows), predictions)


def _found(numbers: Sequence[str], prefix: str, fields: tuple[str, ...] | None) -> _Found:
    """Return the lines of number fields that a table has, and their positions there."""
    known = {f"{prefix}{name}": place for place, name in enumerate(fields or ())}
    wanted = [(line, name) for line, name in enumerate(numbers) if name.startswith(OUTPUT) is bool(prefix)]
    pairs = [(line, known[name]) for line, name in wanted if name in known]
    return np.array([line for line, _ in pairs], dtype=np.int64), np.array(
        [position for _, position in pairs], dtype=np.int64
    )


def _placing(spans: Sequence[Span], fields: tuple[str, ...] | None) -> Placing | None:
    if fields is None or not spans:
        return None
    return Placing(spans, [span.name.removeprefix(OUTPUT) for span in spans], fields)


def _by_shape(samples: Sequence[Sample]) -> Mapping[_Shape, Sequence[Sample]]:
    """Return the samples by their tables' fields. Tables of one codec share them: most are told by identity, which is cheap."""
    one = _only_shape(samples)
    if one is not None:
        return {one: samples}
    alike: dict[tuple[int, int], list[Sample]] = {}
    for sample in samples:
        rows, features, predictions = sample.decision.rows, sample.features, sample.predictions
        key = (
            0 if features is None or features.rows != rows else id(features.fields),
            0 if predictions is None or predictions.rows != rows else id(predictions.fields),
        )
        known = alike.get(key)
        if known is None:
            alike[key] = [sample]
        else:
            known.append(sample)
    shapes: dict[_Shape, list[Sample]] = {}
    for (inputs, outputs), group in alike.items():
        first = group[0]
        shape = (
            first.features.fields if inputs and first.features is not None else None,
            first.predictions.fields if outputs and first.predictions is not None else None,
        )
        shapes.setdefault(shape, []).extend(group)
    return shapes


def _only_shape(samples: Sequence[Sample]) -> _Shape | None:
    """Return the fields that all samples share, None where they differ or a table is not there: without a loop of ours."""
    if not samples:
        return None
    _, decisions, features, predictions, _, _ = zip(*samples, strict=True)
    if None in features or None in predictions:
        return None
    rows = [decision.rows for decision in decisions]
    if rows != [table.rows for table in features] or rows != [table.rows for table in predictions]:
        return None
    if (
        len({id(table.fields) for table in features}) > 1
        or len({id(table.fields) for table in predictions}) > 1
    ):
        return None
    return features[0].fields, predictions[0].fields


def _stacked(tables: Iterable[Table | None]) -> Table:
    return stack_tables([table for table in tables if table is not None])


def _rows_of(table: Table, rows: NDArray[np.int64]) -> Table:
    """Return some rows of a table."""
    block = table.block[:, rows]
    block.flags.writeable = False
    picked = rows.tolist()
    exact = {name: tuple(cells[row] for row in picked) for name, cells in table.exact.items()}
    return Table(table.fields, len(picked), block, exact)
