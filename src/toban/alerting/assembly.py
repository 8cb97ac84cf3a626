"""Assembles alerting: the evaluation of rules, and the commands on alerts."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from toban.alerting.acknowledge_commands import AcknowledgeCommands
from toban.alerting.alert_store import AlertStore
from toban.alerting.external_alerts import ExternalAlerts
from toban.alerting.rule_engines import RuleEngineName, RuleEnginePair
from toban.alerting.rule_file import RuleGroup
from toban.alerting.service import CollectedTargets, EvaluationService
from toban.alerting.settings import AlertingSettings
from toban.alerting.templating.template import External
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, HealthStatus, SampleSink
from toban.state.database import State


@dataclass(frozen=True, slots=True)
class AlertingPorts:
    """What rules are evaluated with, and where alerts are kept: what stays open through reloads."""

    alerts: AlertStore
    external_alerts: ExternalAlerts
    engines: Mapping[RuleEngineName, RuleEnginePair]
    samples: SampleSink
    state: State
    clock: Clock
    meters: MetricRegistry


@dataclass(frozen=True, slots=True)
class Alerting:
    """The evaluation service, the commands on alerts, and the engines of rules."""

    evaluation: EvaluationService
    acknowledgements: AcknowledgeCommands
    external_alerts: ExternalAlerts
    engines: Mapping[RuleEngineName, RuleEnginePair]


def open_alerting(
    settings: AlertingSettings,
    groups: Sequence[RuleGroup],
    ports: AlertingPorts,
    targets: CollectedTargets,
    health: Callable[[], Iterable[tuple[str, HealthStatus]]],
    external: External,
) -> Alerting:
    """
    Return alerting with some rule groups.

    ``health`` is that of the other services, which become alerts themselves; ``external`` is how toban is reached.
    """
    it = ports
    evaluation = EvaluationService(
        groups,
        settings.evaluation_interval,
        it.alerts,
        it.engines,
        it.samples,
        it.state,
        it.clock,
        it.meters,
        health=health,
        targets=targets,
        external=external,
    )
    return Alerting(evaluation, AcknowledgeCommands(it.alerts, it.clock), it.external_alerts, it.engines)
