"""One toban.yaml."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from toban.collect import default_collectors
from toban.core.config_file import parse
from toban.core.errors import SettingsError
from toban.settings import Settings, build_settings, load_settings

ENVIRONMENT = {"HOME": "/home/ann"}


def settled(text: str, **environment: str) -> Settings:
    return build_settings(parse(text), {**ENVIRONMENT, **environment}, "toban.yaml")


def test_an_empty_configuration_is_valid():
    """
    Then toban watches the machine it stands on, and itself.
    """
    found = settled("")

    assert found.data == Path("/home/ann/.local/share/toban")
    assert [one.name for one in default_collectors.with_defaults(found.collect, found.shop)] == [
        "toban",
        "host",
        "telemetry",
        "events",
    ]


def test_the_environment_configures_a_shop():
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

    watched = {one.name: one for one in default_collectors.with_defaults(found.collect, found.shop)}
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
    assert ":secret" not in repr(found)


def test_a_configured_collector_replaces_the_default():
    """
    By its name.
    """
    found = settled("collect: [{kind: host, interval: 60s}, {kind: files, name: assets, path: /srv}]")

    watched = {one.name: one for one in default_collectors.with_defaults(found.collect, found.shop)}
    assert watched["host"].interval.total_seconds() == 60
    assert list(watched) == ["toban", "host", "telemetry", "events", "assets"]


def test_variables_are_expanded_in_secrets_and_urls():
    """
    In the middle of a text too.
    """
    found = settled("shop: {database: 'postgresql://toban:${PASSWORD}@db/shop'}", PASSWORD="p4ss")
    assert found.shop.database.get_secret_value() == "postgresql://toban:p4ss@db/shop"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("wep: {}", "toban.yaml: line 1: wep: unknown setting 'wep': did you mean 'web'?"),
        (
            "notify: {maintenance_windows: [{name: n, cron: 0 3 * * *, lasts: 1h, matchers: []}]}",
            "notify.maintenance_windows.0.lasts: unknown setting 'lasts': known are cron, for,",
        ),
        ("web: {lisen: x}", "web.lisen: unknown setting 'lisen': did you mean 'listen'?"),
        (
            "web: {q: 1}",
            "web.q: unknown setting 'q': known are body_limit, client_address_header, hosts, listen, metrics, token",
        ),
        ("collect: [{kind: htp}]", "collect.0: unknown collector 'htp': did you mean http?"),
        ("collect: [{kind: zzz}]", "collect.0: unknown collector 'zzz': known kinds are bullmq, dns, events"),
        ("collect: [{name: x}]", "collect.0: `kind` is missing: write `kind: bullmq, dns, events"),
        ("collect: [{kind: host, evry: 5s}]", "collect.0.evry: unknown setting 'evry'"),
        ("collect: [{kind: host, every: 5s}]", "collect.0.every: 'every' is called 'interval' now"),
        ("notify: {wait: 5s}", "notify.wait: 'wait' is called 'group_wait' now"),
        ("alerting: {every: 5s}", "alerting.every: 'every' is called 'evaluation_interval' now"),
        ("collect: [{kind: host, interval: 5}]", "collect.0.interval: invalid duration '5': write it like 15s"),
        ("collect: [{kind: http}]", "collect.0.url: is missing"),
        ("collect: [{kind: http, url: 'ftp://x'}]", "collect.0.url: invalid URL 'ftp://x': write it like https://"),
        ("collect: [{kind: http, url: 'http://u:p@x/'}]", "would be in labels and logs: use headers"),
        ("collect: [{kind: http, url: 'http://x', match: '('}]", "collect.0.match: invalid regular expression '('"),
        ("collect: [{kind: files, path: /a}, {kind: files, path: /b}]", "duplicate name 'files': give each a `name`"),
        ("shop: {database: 'mysql://x'}", "shop.database: the URL must begin with postgres:// or postgresql://"),
        ("shop: {database: '${NOPE}'}", "shop.database: ${NOPE} is not set in the environment"),
        (
            "sign_in: {oidc: {issuer: 'http://x.example', client_id: x}}",
            "sign_in.oidc.issuer: the issuer must begin with",
        ),
        ("sign_in: {oidc: {issuer: 'https://x.example'}}", "sign_in.oidc.client_id: is missing"),
        (
            "sign_in: {oidc: {issuer: 'https://x.example', client_id: x, allow_domains: [ann@x]}}",
            "sign_in.oidc.allow_domains.0: 'ann@x' is not a domain: write it like example.com",
        ),
        ("web: {listen: 9119}", "web.listen: '9119' is not HOST:PORT"),
        ("web: {listen: '9119'}", "web.listen: '9119' is not HOST:PORT: write it like 127.0.0.1:9119"),
        ("web: {trusted_proxies: [proxy]}", "web.trusted_proxies.0: invalid address 'proxy': write it like 127.0.0.1"),
        ("web: {client_address_header: Client}", "web.client_address_header: "),
        ("metrics: {retention: long}", "metrics.retention: invalid duration 'long'"),
        ("state: mysql://x", "state: the URL must begin with postgresql://"),
        ("web: 7", "web: must be names with values"),
        ("[1, 2]", "toban.yaml: must be names with values"),
        ("a: b: c", "toban.yaml: line 1: mapping values are not allowed here"),
        ("web: {}\nweb: {}", "toban.yaml: line 2: duplicate name 'web'"),
        ("a: &x 1\nb: *x", "toban.yaml: line 2: aliases are not allowed here"),
        ("[a]: x", "toban.yaml: line 1: a name must be a word"),
        ("[" * 5000, "nested too deeply|expected"),
    ],
)
def test_an_error_names_its_path_and_the_remedy(text, words):
    """
    Whoever reads it at three in the morning knows what to do.
    """
    with pytest.raises(SettingsError) as caught:
        settled(text)
    assert any(word in str(caught.value) for word in words.split("|")), caught.value


def test_all_errors_are_reported_at_once():
    """
    Nobody wants to meet them one by one.
    """
    with pytest.raises(SettingsError) as caught:
        settled("wep: 1\ncollect: [{kind: host, interval: 5}, {kind: http, url: x}]\nmetrics: {size: x}")
    assert len(str(caught.value).splitlines()) == 4


def test_errors_of_all_stages_are_reported_at_once(tmp_path):
    """
    YAML, the environment, each setting, addresses, rule files, channels that rules and routes name.
    """
    group = "groups: [{name: g, rules: [{alert: A, expr: 'up == 0', labels: {channels: nobody}}]}]"
    (tmp_path / "good.yaml").write_text(group)
    (tmp_path / "bad.yaml").write_text("groups: [{name: h, rules: [{alert: B, expr: 'sum('}]}]")
    path = tmp_path / "toban.yaml"
    path.write_text(
        "shop: {redis: 'redis://h/db', storefront: '${NOPE}'}\n"
        "shop: {}\n"
        "web: {listen: nowhere}\n"
        "alerting: {evaluation_interval: often, rules: [good.yaml, bad.yaml, missing.yaml], without: [nothing]}\n"
        "channels: {ops: {kind: slack, webhook: changeme}}\n"
        "notify: {fallback: nobody, language: fr, routes: [{channels: [ops]}]}\n"
    )
    with pytest.raises(SettingsError) as caught:
        load_settings(path, {**ENVIRONMENT, "DATABASE_URL": "postgres://u:p@h/db?sslmod=x", "TOBAN_TOKEN": "a\nb"})
    message = str(caught.value)
    for words in (
        "line 2: duplicate name 'shop'",
        "line 1: shop.storefront: ${NOPE} is not set",
        "TOBAN_TOKEN in the environment: web.token: it contains a line break",
        "line 3: web.listen: 'nowhere' is not HOST:PORT",
        "line 4: alerting.evaluation_interval: invalid duration 'often'",
        "line 5: channels.ops.webhook: invalid URL",
        "line 6: notify.language: must be 'en' or 'ja'",
        "notify.fallback: unknown channel 'nobody': configured are ops",
        "DATABASE_URL in the environment: shop.database: unknown parameter 'sslmod'",
        "line 1: shop.redis: the path must be the number of a database",
        "bad.yaml: ",
        "missing.yaml': no such file",
        "unknown rule 'nothing'",
    ):
        assert words in message, message
    assert "unknown channel 'ops'" not in message


def test_an_unknown_channel_of_a_rule_is_reported_beside_other_errors(tmp_path):
    """
    A channel with a mistake in it is one that there is.
    """
    rule = "{{alert: {0}, expr: 'up == 0', labels: {{channels: {1}}}}}"
    rules = f"{rule.format('A', 'ops')}, {rule.format('B', 'nobody')}"
    (tmp_path / "rules.yaml").write_text(f"groups: [{{name: g, rules: [{rules}]}}]")
    path = tmp_path / "toban.yaml"
    path.write_text("alerting: {rules: [rules.yaml]}\nchannels: {ops: {kind: pagerduty, key: ''}}")
    with pytest.raises(SettingsError) as caught:
        load_settings(path, ENVIRONMENT)
    assert "B: unknown channel 'nobody': configured are ops" in str(caught.value)
    assert "A: 'ops'" not in str(caught.value)


def test_an_error_that_follows_from_another_is_not_reported():
    """
    One cause, one mistake.
    """
    with pytest.raises(SettingsError) as caught:
        settled("web: {listen: '0.0.0.0:1', token: '${T}'}\nlogs: {fly: true}\nshop: {fly_token: '${T}', fly_org: o}")
    assert str(caught.value).count("\n") == 1


@pytest.mark.parametrize("around", ["{}\n", " {} ", '"{}"', "'{}'\n"])
def test_white_space_and_quotes_around_a_variable_are_removed(around):
    """
    From files of secrets and of docker alike.
    """
    given_ = {
        "DATABASE_URL": "PostgreSQL://u:p@db/shop?sslmode=no-verify",
        "REDIS_URL": "redis://default:p@h:1?family=6",
        "SHOP_API_URL": "http://shop/shop-api",
        "SLACK_WEBHOOK_URL": "https://hooks.slack.com/services/x",
        "SMTP_HOST": "mail.example.com",
        "SMTP_USER": "ann@example.com",
        "SMTP_PASSWORD": "0123",
        "PAGERDUTY_INTEGRATION_KEY": "0123456789abcdef0123456789abcdef",
        "TOBAN_TOKEN": "abc",
    }
    quoted = {name: around.format(value) for name, value in given_.items() if name != "SMTP_USER"}
    found = settled("", **quoted, SMTP_USER="ann@example.com\n")
    assert found.shop.database.get_secret_value() == "postgresql://u:p@db/shop?sslmode=require"
    assert found.shop.redis.get_secret_value() == "redis://default:p@h:1"
    assert found.shop.shop_api == "http://shop/shop-api"
    assert found.channels["slack"].webhook.get_secret_value() == "https://hooks.slack.com/services/x"
    assert (found.channels["email"].host, found.channels["email"].to) == ("mail.example.com", ("ann@example.com",))
    assert found.channels["email"].password.get_secret_value() == "0123"
    assert found.channels["pagerduty"].key.get_secret_value() == given_["PAGERDUTY_INTEGRATION_KEY"]
    assert found.web.token.get_secret_value() == "abc"


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("SLACK_WEBHOOK_URL", "changeme", "channels.slack.webhook: invalid URL"),
        ("SLACK_WEBHOOK_URL", "https://hooks.slack.com/a\nb", "channels.slack.webhook: it contains a line break"),
        ("SMTP_HOST", "mail.example.com:25", "channels.email.host: invalid host name 'mail.example.com:25'"),
        ("SMTP_HOST", "smtp://mail.example.com", ": write it like mail.example.com, without scheme"),
        ("REDIS_URL", "unix:///run/redis.sock", "shop.redis: the URL must begin with redis:// or rediss://"),
        ("REDIS_URL", "redis://h/db", "shop.redis: the path must be the number"),
        ("DATABASE_URL", "postgres://u@${PGHOST}/db", "shop.database: `${NAME}` is in the variable itself"),
        ("SHOP_API_URL", "/shop-api", "shop.shop_api: invalid URL '/shop-api'"),
    ],
)
def test_an_error_in_a_variable_names_the_variable(variable, value, words):
    """
    It is in no line of the file.
    """
    with pytest.raises(SettingsError) as caught:
        settled("", **{variable: value})
    assert str(caught.value).startswith(f"{variable} in the environment: ")
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("collect: [{kind: dns, name: '${V}', host: h}]", {"name": "v"}),
        ("collect: [{kind: dns, job: '${V}', host: '${V}', interval: '${E}'}]", {"job": "v", "host": "v"}),
        ("collect: [{kind: http, url: 'http://h', body: '${V}'}]", {"body": "v"}),
        (
            "collect: [{kind: http, url: 'http://h', body: {a: '${V}', b: 1, c: '1', d: null}}]",
            {"body": {"a": "v", "b": 1, "c": "1", "d": None}},
        ),
        ("collect: [{kind: files, path: '/srv/${V}'}]", {"path": Path("/srv/v")}),
    ],
)
def test_variables_are_expanded_in_every_setting(text, values):
    """
    Whatever its type is.
    """
    [found] = settled(text, V="v\n", E="15s").collect
    assert {name: getattr(found, name) for name in values} == values


def test_variables_are_expanded_in_numbers_and_lists():
    """
    Recipients may stand in one text.
    """
    text = "channels: {m: {kind: email, host: h, port: '${P}', sender: a@b.c, to: '${TO}', password: 0123}}"
    found = settled(text, P="25", TO='a@b.c, "Doe, Ann" <ann@b.c>').channels["m"]
    assert (found.port, found.to) == (25, ("a@b.c", '"Doe, Ann" <ann@b.c>'))
    assert found.password.get_secret_value() == "0123"


def test_an_empty_section_counts_as_missing():
    """
    It stands there as a reminder.
    """
    found = settled(
        "notify:\nweb:\nshop: {redis: }\nchannels:\ncollect:\nmetrics: {retention: }", REDIS_URL="redis://h"
    )
    assert found.notify == Settings().notify
    assert found.shop.redis.get_secret_value() == "redis://h"


def test_errors_contain_no_secrets():
    """
    Not even when it is the secret that is wrong.
    """
    with pytest.raises(SettingsError) as caught:
        settled("shop: {database: 'mysql://u:hunter2@x', redis: 'hunter2'}\nweb: {token: [hunter2]}")
    assert "hunter2" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path):
    """
    Only the one in the current folder may be missing.
    """
    with pytest.raises(SettingsError, match=r"nope\.yaml: can't be read"):
        load_settings(tmp_path / "nope.yaml", ENVIRONMENT)


def test_the_command_line_takes_precedence_over_the_file(tmp_path):
    """
    And the file above the defaults.
    """
    path = tmp_path / "toban.yaml"
    path.write_text("data: /a\nweb: {listen: '127.0.0.1:1', token: x}")
    found = load_settings(path, ENVIRONMENT, data=tmp_path, listen="127.0.0.1:2")

    assert (found.data, found.web.listen, found.web.token.get_secret_value()) == (tmp_path, "127.0.0.1:2", "x")


def test_the_schema_describes_every_setting():
    """
    Docstrings become descriptions, kinds a choice.
    """
    schema = Settings.model_json_schema()

    kinds = schema["properties"]["collect"]["items"]["oneOf"]
    assert len(kinds) >= 8
    assert schema["$defs"]["WebSettings"]["properties"]["listen"]["description"].startswith("HOST:PORT.")


NAMES = """
    shop web collect metrics data state kind url every name host http channels notify alerting routes body to logs fly
    email slack webhook sender password token listen match rules remote redis database
"""
keys = st.sampled_from(NAMES.split())
variables = st.sampled_from(["${HOME}", "${NOPE}", "${", "$${HOME}"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | keys | variables,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def answered(text: str) -> None:
    try:
        settled(text)
    except SettingsError as error:
        assert str(error)


@given(st.text(max_size=200) | values.map(lambda value: yaml.safe_dump(value, allow_unicode=True)))
def test_any_text_is_a_configuration_or_an_error(text):
    """
    Never a crash, never a hang.
    """
    answered(text)


@pytest.mark.soak
@settings(max_examples=10_000)
@given(st.text(max_size=400) | values.map(lambda value: yaml.safe_dump(value, allow_unicode=True)))
def test_any_text_is_a_configuration_or_an_error_soak(text):
    """
    The long form of the test above.
    """
    answered(text)
