"""Readable texts of errors of settings."""

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest
from pydantic import ValidationError

from toban.alerting import rule_unit_tests
from toban.core.config_file import InvalidValue, PlainScalar
from toban.core.config_types import _ERROR_TEXTS, Section, readable_error
from toban.settings import Settings, plugin_registries

WRONG: Final = [
    *(None, True, 0, -1, 10**30, 1.5, float("nan"), float("inf"), b"x", object(), InvalidValue()),
    *(
        "",
        "x",
        "a b",
        "\ud800",
        "x" * 5000,
        "-1",
        "9" * 30,
        "nan",
        "inf",
        "[",
        "(",
        "\n",
        PlainScalar("x"),
        PlainScalar("1"),
    ),
    *([], [1], ["x"], [None], [[]], [{}], [{"x": 1}], [object()]),
    *({}, {"x": 1}, {"x": None}, {"x": "x"}, {"kind": "zzz"}, {"kind": [1]}, {"x": {"kind": "zzz"}}),
]
OURS: Final = {"value_error", "kind_missing", "kind_unknown"}
"""Kinds of mistakes that come with words of our own."""
FOREIGN: Final = ("input", "valid tuple", "frozenset", "instance", "pydantic", "class '", "str type", "dictionary")


def sections(root: type[Section] = Section) -> Iterator[type[Section]]:
    for section in root.__subclasses__():
        if not inspect.isabstract(section) and section.__module__.startswith("toban."):
            yield section
        yield from sections(section)


REGISTRIES: Final = plugin_registries()
PLUGINS: Final = {registry.load(kind) for registry in REGISTRIES.values() for kind in registry.names()}
EVERY: Final = sorted({Settings, *sections()}, key=lambda it: (it.__module__, it.__name__))


def test_all_sections_are_covered():
    """
    Those of plugins and of rule files too.
    """
    assert len(EVERY) > 40
    assert {*PLUGINS, rule_unit_tests._File} <= set(EVERY)


@pytest.mark.parametrize("section", EVERY, ids=lambda it: it.__name__)
def test_each_error_has_a_readable_text(section):
    """
    For each setting, whatever is written in it.
    """
    fields = [field.alias or name for name, field in section.model_fields.items()]
    for written in [*WRONG, *({field: wrong} for field in fields for wrong in WRONG)]:
        try:
            section.model_validate(written, context={"folder": Path("/")})
        except ValidationError as error:
            for details in error.errors(include_url=False):
                text = readable_error(details)
                assert details["type"] in {*_ERROR_TEXTS, *OURS}, details
                # What is wrong with PromQL is said in Prometheus' words.
                assert not [word for word in FOREIGN if word in text.lower().partition("parse error: ")[0]], text
                assert not [step for step in details["loc"] if set("[]()") & set(str(step))], details
