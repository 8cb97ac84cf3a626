"""Pages for the tests of readers and writers, made by Hypothesis."""

from hypothesis import strategies as st

from toban.core.labels import NAME, Labels
from toban.core.samples import MetricFamily, MetricType
from toban.exposition.parser import canonical_bound
from toban.exposition.writer import SampleLine

NUMBERS = st.floats(allow_nan=True) | st.integers(-(10**6), 10**16).map(float)
TEXTS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=8)
NAMES = st.from_regex(r"[a-z][a-z0-9_:]{0,6}[a-z0-9]", fullmatch=True)
LABELS = st.dictionaries(
    st.from_regex(r"[a-zA-Z][a-zA-Z0-9_]{0,5}", fullmatch=True).filter(lambda name: name not in {"le", "quantile"}),
    TEXTS.filter(bool),
    max_size=3,
)
HELPS = TEXTS.map(str.strip).filter(bool)
BOUNDS = st.lists(st.floats(allow_nan=False, allow_infinity=False), max_size=3, unique=True)


@st.composite
def family(draw: st.DrawFn, name: str) -> tuple[MetricFamily, list[SampleLine]]:
    """A family and its series, all parts of histograms and summaries included, in any order."""
    sort = draw(st.sampled_from(list(MetricType)))
    found = MetricFamily(f"{name}_total" if sort is MetricType.COUNTER else name, sort, draw(HELPS))
    written: list[SampleLine] = []
    for labels in draw(
        st.lists(LABELS, min_size=1, max_size=3, unique_by=lambda labels: tuple(sorted(labels.items())))
    ):
        at = draw(st.just(0) | st.integers(1, 2 * 10**12))
        if sort in {MetricType.HISTOGRAM, MetricType.SUMMARY}:
            written += parts(found, labels, draw(BOUNDS), at)
        else:
            value = draw(st.integers(0, 10**18).map(float) if sort is MetricType.COUNTER else NUMBERS)
            written.append(SampleLine(Labels({**labels, NAME: found.name}), value, at))
    return found, draw(st.permutations(written))


def parts(found: MetricFamily, labels: dict[str, str], bounds: list[float], at: int) -> list[SampleLine]:
    """The series of one histogram or summary."""
    stem = found.name
    if found.type is MetricType.HISTOGRAM:
        rungs = [*sorted({abs(bound) for bound in bounds}), float("inf")]
        series = [
            ({**labels, NAME: f"{stem}_bucket", "le": canonical_bound(repr(rung))}, float(place))
            for place, rung in enumerate(rungs, 1)
        ]
        series += [({**labels, NAME: f"{stem}_sum"}, 3.5), ({**labels, NAME: f"{stem}_count"}, float(len(rungs)))]
    else:
        inside = sorted({abs(bound) % 1 for bound in bounds})
        series = [({**labels, NAME: stem, "quantile": canonical_bound(repr(rung))}, 2.5) for rung in inside]
        series += [({**labels, NAME: f"{stem}_sum"}, 3.5), ({**labels, NAME: f"{stem}_count"}, 3.0)]
    return [SampleLine(Labels(pairs), value, at) for pairs, value in series]


@st.composite
def exposed(draw: st.DrawFn) -> tuple[dict[str, MetricFamily], list[SampleLine]]:
    """Families and lines that one page may hold."""
    stems = draw(st.lists(NAMES, max_size=4, unique=True))
    # A name with the ending of another family's part would be two families in one: OpenMetrics has no word for that.
    endings = ("_total", "_bucket", "_sum", "_count", "_created", "_info", "_gsum", "_gcount")
    made = [draw(family(name)) for name in stems if not name.endswith(endings)]
    return {found.name: found for found, _ in made}, [line for _, written in made for line in written]
