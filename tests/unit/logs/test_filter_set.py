"""Filters that are searched for at once find what each finds alone."""

from hypothesis import given
from hypothesis import strategies as st

from toban.logs.filter_set import MAX_COST, FilterSet
from toban.logs.line_store import TextFilter
from toban.logs.text_filter import compile_filter

words = st.text("aAbB. \n日é\\", max_size=4)
expressions = st.sampled_from(["a.b", "(?i)A+", "^a", "b$", "a|b", "", "[日é]", "(?s)a.*b", r"\bA\b"])
filters = st.builds(
    lambda found, is_negated, ignore_case: TextFilter(tuple(found[0]), found[1], is_negated, ignore_case),
    st.one_of(
        st.tuples(st.lists(words, min_size=1, max_size=3), st.just(False)),
        st.tuples(st.lists(expressions, min_size=1, max_size=3), st.just(True)),
    ),
    st.booleans(),
    st.booleans(),
)


@given(st.lists(filters, max_size=8), st.text("aAbB. \n日é\\", max_size=12))
def test_a_set_finds_what_each_filter_finds_alone(wanted, text):
    together = FilterSet(wanted)
    found = together.found_in(text)
    assert [together.compiled(it).matches(found) for it in wanted] == [compile_filter(it)(text) for it in wanted]


def test_filters_that_are_too_large_for_one_automaton_are_searched_all_the_same():
    wanted = [TextFilter((f"{number}" + "x" * (MAX_COST // 3),)) for number in range(10)]
    together = FilterSet(wanted)
    found = together.found_in(f"a {wanted[3].texts[0]} b {wanted[8].texts[0]}")
    assert [together.compiled(it).matches(found) for it in wanted] == [number in {3, 8} for number in range(10)]
