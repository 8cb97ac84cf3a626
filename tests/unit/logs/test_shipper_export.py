"""Configurations of log shippers, held against the documented grammar of each."""

import re

import pytest
import yaml

from toban.logs.settings import LogSettings
from toban.logs.shipper_export import SHIPPERS, ShipperExport
from toban.logs.sinks.datadog import Datadog


def exported(program: str, *, toban: str = "http://toban:9119", has_token: bool = False, **settings) -> str:
    datadog = Datadog(api_key="hush", site="datadoghq.eu", tags={"team": "shop"})
    logs = LogSettings.model_validate(settings)
    return SHIPPERS[program][1](ShipperExport.of(logs, [datadog], toban, has_token=has_token))


@pytest.mark.parametrize("program", SHIPPERS)
def test_no_configuration_holds_a_secret_and_each_reads_the_files_of_the_settings(program):
    text = exported(program, files=[{"path": "/srv/shop/*.log"}, {"path": "/srv/worker/**/*.log"}], has_token=True)
    assert "hush" not in text
    assert "TOBAN_TOKEN" in text
    for path in ("/srv/shop/*.log", "/srv/worker/**/*.log", "/srv/shop/*.gz"):
        assert path in text
    assert "/app/logs/*.log" in exported(program)


def test_fluentd_reads_winstons_files_as_the_original_meant():
    text = exported("fluentd")
    sections = re.findall(r"^ *<(/?)(\w+)", text, re.MULTILINE)
    open_ones: list[str] = []
    for closes, name in sections:
        if closes:
            assert open_ones.pop() == name
        else:
            open_ones.append(name)
    assert not open_ones
    assert "time_format %iso8601" in text
    assert "time_type string" in text
    assert "\"team:shop,environment:#{ENV['NODE_ENV']},instance:#{ENV['FLY_MACHINE_ID']}\"" in text
    assert "dd_sourcecategory vendure" in text
    assert "host http-intake.logs.datadoghq.eu" in text


def test_fluent_bit_has_its_documented_keys():
    found = yaml.safe_load(exported("fluent-bit", toban="https://toban.example"))
    (tail,), outputs = found["pipeline"]["inputs"], found["pipeline"]["outputs"]
    assert tail["parser"] == found["parsers"][0]["name"]
    assert [(it["name"], it["host"], it["tls"]) for it in outputs] == [
        ("datadog", "http-intake.logs.datadoghq.eu", True),
        ("loki", "toban.example", True),
    ]
    assert outputs[1]["port"] == 443
    assert outputs[0]["dd_tags"] == "team:shop,environment:${NODE_ENV},instance:${FLY_MACHINE_ID}"


def test_vector_connects_what_exists():
    found = yaml.safe_load(exported("vector"))
    known = {*found["sources"], *found["transforms"]}
    assert all(set(sink["inputs"]) <= known for sink in found["sinks"].values())
    assert (
        '.ddtags = "team:shop,environment:${NODE_ENV:-},instance:${FLY_MACHINE_ID:-}"'
        in found["transforms"]["parse"]["source"]
    )
    assert found["sinks"]["toban"]["endpoint"] == "http://toban:9119"


def test_alloy_pushes_to_toban():
    text = exported("alloy")
    assert text.count("{") == text.count("}")
    assert 'url = "http://toban:9119/loki/api/v1/push"' in text
