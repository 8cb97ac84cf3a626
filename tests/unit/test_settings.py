"""One toban.yaml."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from toban.collect import defaults
from toban.core.errors import SettingsError
from toban.settings import Settings, load, parse, settle

ENVIRONMENT = {"HOME": "/home/ann"}


def settled(text: str, **environment: str) -> Settings:
    return settle(parse(text, "toban.yaml"), {**ENVIRONMENT, **environment}, "toban.yaml")


def test_nothing_at_all_is_a_configuration():
    """
    Then toban watches the machine it stands on, and itself.
    """
    found = settled("")

    assert found.data == Path("/home/ann/.local/share/toban")
    assert [one.name for one in defaults.collectors(found.collect, found.shop)] == [
        "toban",
        "host",
        "telemetry",
        "events",
    ]


def test_the_environment_is_enough_to_watch_a_shop():
    """
    Each part that is named there is watched; what the file says stands above it.
    """
    found = settled(
        "shop: {redis: 'redis://other'}",
        DATABASE_URL="postgresql://u:secret@db/shop",
        REDIS_URL="redis://ignored",
        SHOP_API_URL="http://shop/shop-api",
        STOREFRONT_URL="https://shop/",
    )

    watched = {one.name: one for one in defaults.collectors(found.collect, found.shop)}
    assert list(watched) == [
        "toban",
        "host",
        "telemetry",
        "events",
        "postgres",
        "vendure_db",
        "redis",
        "bullmq",
        "vendure",
        "storefront",
        "tls",
    ]
    assert found.shop.redis.get_secret_value() == "redis://other"
    assert watched["vendure"].target == {"job": "vendure", "instance": "http://shop/shop-api"}
    assert "secret" not in repr(found)


def test_what_is_configured_takes_a_defaults_place():
    """
    By its name.
    """
    found = settled("collect: [{kind: host, every: 60s}, {kind: files, name: assets, path: /srv}]")

    watched = {one.name: one for one in defaults.collectors(found.collect, found.shop)}
    assert watched["host"].every.total_seconds() == 60
    assert list(watched) == ["toban", "host", "telemetry", "events", "assets"]


def test_secrets_and_addresses_come_from_the_environment():
    """
    In the middle of a text too.
    """
    found = settled("shop: {database: 'postgresql://toban:${PASSWORD}@db/shop'}", PASSWORD="p4ss")
    assert found.shop.database.get_secret_value() == "postgresql://toban:p4ss@db/shop"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wep: {}", "toban.yaml: wep: there is no setting 'wep' here: did you mean 'web'?"),
        ("web: {lisen: x}", "web.lisen: there is no setting 'lisen' here: did you mean 'listen'?"),
        ("web: {q: 1}", "web.q: there is no setting 'q' here: there are body_limit, hosts, listen, metrics, token"),
        ("collect: [{kind: htp}]", "collect.0: 'htp' is no collector: did you mean http?"),
        ("collect: [{kind: zzz}]", "collect.0: 'zzz' is no collector: there are bullmq, dns, events"),
        ("collect: [{name: x}]", "collect.0: it must say what it is, like `kind: bullmq, dns, events"),
        ("collect: [{kind: host, evry: 5s}]", "collect.0.evry: there is no setting 'evry' here: did you mean 'every'?"),
        ("collect: [{kind: host, every: 5}]", "collect.0.every: 5 is no length of time: write it like 15s"),
        ("collect: [{kind: http}]", "collect.0.url: is missing"),
        ("collect: [{kind: http, url: 'ftp://x'}]", "collect.0.url: 'ftp://x' is no address: write it like https://"),
        ("collect: [{kind: http, url: 'http://u:p@x/'}]", "ends up in labels and logs: use headers"),
        ("collect: [{kind: http, url: 'http://x', match: '('}]", "collect.0.match: '(' is no regular expression"),
        ("collect: [{kind: files, path: /a}, {kind: files, path: /b}]", "'files' is there twice: give each a `name`"),
        ("shop: {database: 'mysql://x'}", "shop.database: the address must begin with postgres:// or postgresql://"),
        ("shop: {database: '${NOPE}'}", "shop.database: ${NOPE} is not set in the environment"),
        ("web: {listen: 9119}", "web.listen: must be a text: put it in quotes"),
        ("web: {listen: '9119'}", "web.listen: '9119' is no HOST:PORT: write it like 127.0.0.1:9119"),
        ("web: {listen: '0.0.0.0:9119'}", "lets other machines in: set web.token"),
        ("web: {listen: '[::]:9119'}", "lets other machines in: set web.token"),
        ("metrics: {retention: long}", "metrics.retention: 'long' is no length of time"),
        ("state: mysql://x", "state: the address must begin with postgresql://"),
        ("web: 7", "web: must be names with values"),
        ("[1, 2]", "toban.yaml: must be names with values"),
        ("a: b: c", "toban.yaml: line 1: mapping values are not allowed here"),
        ("web: {}\nweb: {}", "toban.yaml: line 2: 'web' is there twice"),
        ("a: &x 1\nb: *x", "toban.yaml: line 2: aliases are not read here"),
        ("1: x", "toban.yaml: line 1: a name must be a word"),
        ("[" * 5000, "nested too deeply|expected"),
    ],
)
def test_a_mistake_names_its_place_and_the_remedy(text, words):
    """
    Whoever reads it at three in the morning knows what to do.
    """
    with pytest.raises(SettingsError) as caught:
        settled(text)
    assert any(word in str(caught.value) for word in words.split("|")), caught.value


def test_every_mistake_is_named_at_once():
    """
    Nobody wants to meet them one by one.
    """
    with pytest.raises(SettingsError) as caught:
        settled("wep: 1\ncollect: [{kind: host, every: 5}, {kind: http, url: x}]\nmetrics: {size: x}")
    assert len(str(caught.value).splitlines()) == 4


def test_a_secret_never_stands_in_a_mistake():
    """
    Not even when it is the secret that is wrong.
    """
    with pytest.raises(SettingsError) as caught:
        settled("shop: {database: 'mysql://u:hunter2@x', redis: 'hunter2'}\nweb: {token: [hunter2]}")
    assert "hunter2" not in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path):
    """
    Only the one in the current folder may be missing.
    """
    with pytest.raises(SettingsError, match=r"nope\.yaml: can't be read"):
        load(tmp_path / "nope.yaml", ENVIRONMENT)


def test_the_command_line_stands_above_the_file(tmp_path):
    """
    And the file above the defaults.
    """
    path = tmp_path / "toban.yaml"
    path.write_text("data: /a\nweb: {listen: '127.0.0.1:1', token: x}")
    found = load(path, ENVIRONMENT, data=tmp_path, listen="127.0.0.1:2")

    assert (found.data, found.web.listen, found.web.token.get_secret_value()) == (tmp_path, "127.0.0.1:2", "x")


def test_the_schema_describes_every_setting():
    """
    Docstrings become descriptions, kinds a choice.
    """
    schema = Settings.model_json_schema()

    kinds = schema["properties"]["collect"]["items"]["oneOf"]
    assert len(kinds) >= 8
    assert schema["$defs"]["WebSettings"]["properties"]["listen"]["description"].startswith("HOST:PORT.")


keys = st.sampled_from(
    ["shop", "web", "collect", "metrics", "data", "state", "kind", "url", "every", "name", "host", "http"]
)
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | keys | st.just("${HOME}"),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def answered(text: str) -> None:
    try:
        settled(text)
    except SettingsError as error:
        assert str(error)


@given(st.text(max_size=200) | values.map(lambda value: yaml.safe_dump(value, allow_unicode=True)))
def test_any_text_is_a_configuration_or_a_named_error(text):
    """
    Never a crash, never a hang.
    """
    answered(text)


@pytest.mark.soak
@settings(max_examples=10_000, deadline=None)
@given(st.text(max_size=400) | values.map(lambda value: yaml.safe_dump(value, allow_unicode=True)))
def test_any_text_is_a_configuration_or_a_named_error_for_long(text):
    """
    The long form of the test above.
    """
    answered(text)
