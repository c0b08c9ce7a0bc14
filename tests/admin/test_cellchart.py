"""Where the cells of a field stand on their drawing."""

from hypothesis import given
from hypothesis import strategies as st

from guardproxy.admin.cellchart import HEIGHT, WIDTH, CellShares, chart_of

share = st.floats(0, 1)
cells = st.lists(
    st.builds(
        CellShares,
        st.text(max_size=60),
        share,
        share,
        share,
        st.none() | share,
        st.none() | share,
        st.booleans(),
    ),
    min_size=1,
    max_size=24,
)


@given(cells, st.booleans())
def test_nothing_is_drawn_outside_of_the_drawing(given_cells: list[CellShares], ordered: bool) -> None:
    chart = chart_of(given_cells, ordered=ordered)
    assert chart is not None
    for column in chart.columns:
        assert 0 <= column.x <= column.x + column.width <= WIDTH
        for y in (column.band_y, column.learned_y, column.day_y, column.hour_y):
            assert y is None or 0 <= y <= HEIGHT
        assert column.band_y + column.band_height <= HEIGHT
    assert all(0 <= label.x <= WIDTH for label in chart.labels)


def test_a_larger_share_stands_higher_and_the_band_spans_its_ends() -> None:
    chart = chart_of(
        [CellShares("a", 0.1, 0.05, 0.2, 0.3, None, outside=True), CellShares("b", 0.2, 0.1, 0.3, 0.1, 0.4)],
        ordered=False,
    )
    assert chart is not None
    one, two = chart.columns
    assert one.learned_y > two.learned_y
    assert one.hour_y is not None
    assert one.hour_y < one.band_y
    assert one.outside
    assert not two.outside
    assert one.day_y is None
    assert two.band_y < two.learned_y < two.band_y + two.band_height


def test_there_is_no_drawing_without_cells() -> None:
    assert chart_of([], ordered=True) is None


def test_intervals_are_labelled_at_their_edges() -> None:
    ends = ["-5 to 0", "0 to 2", "2 to 4", "4 to 90"]
    chart = chart_of([CellShares(name, 0.25, 0.2, 0.3, None, None) for name in ends], ordered=True)
    assert chart is not None
    assert [label.text for label in chart.labels] == ["-5", "2", "90"]


def test_labels_that_find_no_room_on_a_narrow_screen_are_told_apart() -> None:
    def crowded(names: list[str], *, ordered: bool) -> bool:
        chart = chart_of([CellShares(name, 0.1, 0.05, 0.2, None, None) for name in names], ordered=ordered)
        assert chart is not None
        return chart.crowded

    carriers = [f"C{digit}" for digit in range(16)]
    assert not crowded(carriers, ordered=False)
    assert crowded([f"{name}{name}" for name in carriers], ordered=False)
    assert not crowded(["-5 to 0", "0 to 2"], ordered=True)
    assert crowded(
        [f"{'9' * 20} to {'9' * 21}", f"{'9' * 21} to {'9' * 30}", f"{'9' * 30} to {'9' * 31}"], ordered=True
    )
