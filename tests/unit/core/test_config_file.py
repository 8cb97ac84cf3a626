"""Parsing of toban.yaml."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from toban.core.config_file import InvalidValue, expand_variables, parse, strip_copied
from toban.core.yaml_loader import load_yaml


def read(text: str, **environment: str):
    document = parse(text)
    expand_variables(document, environment)
    return document


@pytest.mark.parametrize("written", ["no", "on", "0123", "1.10", "12:30:45", "1e5", "2026-01-01", "0x1F", "1_000"])
def test_a_scalar_is_the_text_that_is_written(written):
    """
    A password of digits is no number, a name is no truth.
    """
    assert read(f"a: {written}\n{written}: b").tree == {"a": written, written: "b"}


@pytest.mark.parametrize("text", ["a:", "a: ~", "a: null"])
def test_an_empty_value_is_none(text):
    """
    And no text.
    """
    assert read(text).tree == {"a": None}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("${X}", "x y"),
        ("a${X}b${X}", "ax ybx y"),
        ("'${X}'", "x y"),
        ("$${X}", "${X}"),
        ("a$${X}b ${X}", "a${X}b x y"),
        ("$HOME $$ $", "$HOME $$ $"),
        ("$${X:-y}", "${X:-y}"),
    ],
)
def test_variables_are_expanded_in_every_text(text, found):
    """
    At any depth, without the blanks and line ends round a value.
    """
    assert read(f"a:\n- b: {text}", X=" x y\n").tree == {"a": [{"b": found}]}


@pytest.mark.parametrize("text", ["${NO}", "${X:-y}", "${", "${X", "${}", "${1}", "x ${X} ${NO}"])
def test_an_unknown_variable_is_a_problem_with_its_path(text):
    """
    Never a text with `${` in it.
    """
    document = read(f"\na:\n  - b: '{text}'", X="x")
    [mistake] = document.problems
    assert (mistake.path, mistake.line) == (("a", 0, "b"), 3)
    assert isinstance(document.tree["a"][0]["b"], InvalidValue)


def test_all_problems_of_a_text_are_reported_at_once():
    """
    Names that are there twice, aliases, tags, names from the environment.
    """
    text = "a: &x 1\nb: *x\na: 2\nc: !!python/name:os.system x\n${D}: 1\n? [e]\n: 1\n<<: {f: 1}\ng: ${H}"
    assert [mistake.line for mistake in read(text).problems] == [2, 3, 4, 5, 6, 8, 9]


def test_an_unusual_space_is_named():
    """
    Nobody sees it.
    """
    assert "U+00A0" in read('web:\u00a0{listen: "x"}').problems[0].message


@pytest.mark.parametrize("around", ["{}", " {} ", "{}\n", '"{}"', "'{}'", " '{}'\n", "{}\r\n"])
def test_white_space_and_quotes_around_a_secret_are_removed(around):
    """
    Once: quotes within quotes belong to it.
    """
    assert strip_copied(around.format("a b")) == "a b"
    assert strip_copied(around.format("'a b '")) in {"'a b '", "a b "}


@given(
    st.text(max_size=200) | st.lists(st.sampled_from(["a", ": ", "- ", "\n", "${X}", "${", "$", "'", " "])).map("".join)
)
def test_any_text_is_parsed_or_has_problems(text):
    """
    As a tree whose scalars are texts, or as mistakes.
    """
    document = read(text, X="x")
    assert all(isinstance(one, str | None | InvalidValue) for one in leaves(document.tree))
    assert document.problems or "$${" in text or not any("${" in str(one) for one in leaves(document.tree))


def leaves(value: object) -> list[object]:
    """Return the scalars of a tree."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
    return [value] if inside is None else [leaf for one in inside for leaf in leaves(one)]


def test_a_variable_without_quotes_between_braces_is_explained():
    """
    YAML takes its brace for another one.
    """
    assert "in quotes" in read("shop: {redis: ${REDIS}}").problems[0].message


def test_a_second_document_is_an_error():
    """
    What stands behind `---` is not left out without a word, in `toban.yaml` and in rule files.
    """
    assert "a second document begins here" in read("web: {}\n---\nweb: {}").problems[0].message
    with pytest.raises(ValueError, match="line 2: a second document begins here"):
        load_yaml("a: b\n---\nc: d")
