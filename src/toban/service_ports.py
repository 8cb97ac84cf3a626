"""What the services of each part of toban use of the others, under one configuration."""

import re
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from toban.alerting.acknowledge_commands import AcknowledgeCommands
from toban.alerting.alert_store import AlertStore
from toban.alerting.external_alerts import posted_alert
from toban.alerting.rule_change import limit_of
from toban.alerting.rule_engines import RuleEngineName
from toban.alerting.rule_file import AlertRule
from toban.alerting.rule_state import RuleHealth
from toban.alerting.service import EvaluationService
from toban.collect.tools import CollectorTools
from toban.core.actor import MAINTENANCE, RUNBOOKS, TOBAN
from toban.core.alerts import ALERTNAME, Alert, AlertStatus, priority
from toban.core.deploys import Deploy
from toban.core.matcher_syntax import make_matcher
from toban.core.matchers import MatchOperator
from toban.core.notification import Notification
from toban.core.ports import Clock
from toban.deploys.guard import Regression
from toban.deploys.service import DeployPorts
from toban.foundation import Foundation
from toban.incidents.assembly import Incidents, incident_policy
from toban.incidents.book import Suppression
from toban.incidents.service import IncidentPorts
from toban.logs.assembly import read_progress
from toban.maintenance.assembly import Maintenance
from toban.maintenance.decisions import Conditions
from toban.maintenance.executor import MaintenancePorts
from toban.maintenance.settings import all_tasks
from toban.maintenance.task import Finding, ReportOrder, Severity, StepResult, TaskTools
from toban.notify.service import NotificationService
from toban.notify.silence_commands import SilenceCommands, SilenceSpec
from toban.notify.system_notices import notice
from toban.oncall.duty import Duty
from toban.reports.builder import ReportBuilder, ReportSources
from toban.reports.service import ReportService
from toban.review.alert_review import EvaluatedRule
from toban.review.assembly import Review
from toban.review.follow_up import FollowUp
from toban.review.proposal_service import ProposalService
from toban.review.proposals import Proposal
from toban.review.recorder import RecorderPorts
from toban.review.true_incident import TrueIncident
from toban.runbooks.action import ActionTools
from toban.runbooks.settings import load_runbooks
from toban.runbooks.situation import RunbookPorts
from toban.settings import Settings
from toban.state.audit_log import AuditEntry


def incident_ports(
    settings: Settings,
    notifications: NotificationService,
    alerts: AlertStore,
    clock: Clock,
    component: Callable[[Alert], str] = lambda _: "",
    duty: Duty | None = None,
) -> IncidentPorts:
    """Return what incidents use under some settings; ``component`` returns the part of the shop of an alert."""
    policy = incident_policy(
        settings.incidents,
        settings.on_call,
        {name: channel.pages for name, channel in settings.channels.items()},
        settings.notify.timezone,
        settings.notify.language,
        settings.notify.address or "",
        duty,
        frozenset(name for name, channel in settings.channels.items() if channel.calls_again),
    )

    def suppression() -> Suppression:
        run = notifications.last_run
        return Suppression(run.inhibited_by, run.lingering, frozenset((*run.silenced_by, *run.muted_by)), component)

    return IncidentPorts(policy, suppression, AcknowledgeCommands(alerts, clock))


def on_call_zone(settings: Settings) -> ZoneInfo:
    """Return the time zone of the on-call schedule."""
    return ZoneInfo(settings.on_call.timezone or settings.notify.timezone)


def runbook_ports(
    settings: Settings,
    base: Foundation,
    tools: CollectorTools,
    silences: SilenceCommands,
    doubts: Callable[[], str],
) -> RunbookPorts:
    """Return what runbooks use under some settings; ``doubts`` says why toban does not trust what it knows."""
    notifications, clock = base.notifications, tools.clock

    async def notify(channel: str, text: str) -> None:
        at = clock.now()
        message = notice(notifications.policy, channel, f"runbook-{at.timestamp()}", text, (), at)
        await notifications.send_notice(message, AuditEntry(at, RUNBOOKS, "sent a message", {"channel": channel}))

    async def silence(alert: Alert, duration: timedelta, comment: str) -> str:
        matchers = [make_matcher(name, MatchOperator.EQUAL, value) for name, value in alert.labels.items()]
        spec = SilenceSpec(matchers, clock.now() + duration, comment)
        return (await silences.create(spec, RUNBOOKS)).id

    def is_firing(fingerprint: str) -> bool:
        return any(it.fingerprint == fingerprint and it.status is AlertStatus.FIRING for it in base.alerts.alerts())

    def maintenance() -> str:
        windows = notifications.policy.windows.open(clock.now())
        if windows:
            return f"the maintenance window {windows[0].name} is open"
        return f"the maintenance task {acting[0]} runs" if (acting := base.maintenance.acting) else ""

    return RunbookPorts(
        settings.runbooks,
        load_runbooks(settings.runbooks),
        ActionTools(
            tools.http,
            clock,
            tools.shop,
            base.engines.rules,
            is_firing,
            notify,
            silence,
            settings.notify.address or "",
        ),
        lambda: [it.alert for _, it in base.alerts.all()],
        doubts,
        maintenance,
        deployed=lambda: base.deploys.last.at if base.deploys.last else None,
        zone=on_call_zone(settings),
        on_events=base.incidents.wake,
    )


def maintenance_ports(
    settings: Settings,
    base: Foundation,
    tools: CollectorTools,
    silences: SilenceCommands,
    doubts: Callable[[], str],
    send_report: Callable[[ReportOrder], Awaitable[str]],
    review_thresholds: Callable[[Callable[[str], None]], Awaitable[StepResult]],
) -> MaintenancePorts:
    """Return what maintenance uses under some settings; it heeds the stop switch of runbooks."""
    clock = tools.clock

    async def conditions() -> Conditions:
        situation = await base.runbooks.situation()
        critical = [it for it in situation.firing if it.labels.get("severity") == "critical"]
        return Conditions(situation.now, situation.is_stopped, doubts(), situation.deployed, critical)

    async def silence(names: Sequence[str], until: datetime, comment: str) -> str:
        names_pattern = "|".join(map(re.escape, names))
        spec = SilenceSpec([make_matcher(ALERTNAME, MatchOperator.REGEX, names_pattern)], until, comment)
        return (await silences.create(spec, MAINTENANCE)).id

    async def unsilence(silence_id: str) -> None:
        await silences.expire(silence_id, MAINTENANCE)

    zone = ZoneInfo(settings.notify.timezone)
    return MaintenancePorts(
        [*all_tasks(settings.maintenance), *settings.reports.values()],
        TaskTools(
            tools.http,
            clock,
            tools.shop,
            base.engines.rules,
            zone,
            settings.data,
            send_report,
            review_thresholds,
            lambda: read_progress(settings.logs, base.logs, clock),
            (base.engines.store, base.logs.retention),
        ),
        conditions,
        silence,
        unsilence,
    )


def open_reports(
    settings: Settings, base: Foundation, incidents: Incidents, maintenance: Maintenance, review: Review
) -> ReportService:
    """Return what makes reports under some settings, and sends them."""
    clock, notifications = base.tools.clock, base.notifications
    sources = ReportSources(
        base.engines.queries,
        clock,
        settings.shop.title,
        settings.notify.address or "",
        incidents.commands.between,
        incidents.duty.between,
        base.deploys.deploys,
        maintenance.commands.between,
        review.levels.budgets,
    )

    def message(channel: str, name: str, title: str, lines: Sequence[str]) -> Notification:
        return notice(notifications.policy, channel, name, title, lines, clock.now())

    return ReportService(
        ReportBuilder(sources),
        ZoneInfo(settings.notify.timezone),
        settings.notify.language,
        message,
        notifications.send_notice,
        clock,
    )


async def review_thresholds(proposals: ProposalService, tell: Callable[[str], None]) -> StepResult:
    """Look for better limits of all rules, and return what is found. Raises like ``ProposalService.review``."""
    run = await proposals.review(MAINTENANCE, tell)
    limits = {it.id: it for it in await proposals.applied()}
    found = [
        *(_as_finding(it) for it in run.proposals),
        *(_missing(limits[it.applied].rule, it) for it in run.follow_ups if it.missed and it.applied in limits),
        *(_unnoticed(it) for it in run.unnoticed),
    ]
    many = len(run.proposals)
    return StepResult(f"{many} limits could be better" if many else "no limit could be better", found)


def _as_finding(proposal: Proposal) -> Finding:
    override = ", ".join(f"{name}: {value}" for name, value in proposal.override.items())
    found = len(proposal.judged.found)
    text = (
        f"{override}: of {proposal.fired} firings in {proposal.days:.0f} days {proposal.judged.saved} would not have"
        f" been; kept {found} of {found} true incidents"
    )
    return Finding(proposal.rule, text, remedy=f"toban review --apply {proposal.rule}")


def _missing(rule: str, found: FollowUp) -> Finding:
    names = ", ".join(it.name for it in found.missed[:5])
    text = f"the limit that was applied missed what the one before would have found: {names}"
    return Finding(rule, text, Severity.WARNING, f"remove alerting.overrides.{rule} from toban.yaml")


def _unnoticed(incident: TrueIncident) -> Finding:
    text = f"nothing fired in it ({incident.begins:%Y-%m-%d %H:%M} UTC)"
    return Finding(incident.name, text, remedy="write a rule that would have found it, or note why not")


def deploy_ports(settings: Settings, base: Foundation) -> DeployPorts:
    """Return what deploys use under some settings."""

    async def report(deploy: Deploy, found: Sequence[Regression], until: datetime) -> None:
        texts = "; ".join(it.text for it in found)
        labels = {"alertname": "deploy_regression", "version": deploy.version, "severity": "warning"}
        annotations = {
            "summary": f"Worse since the deploy of {deploy.version}",
            "summary_ja": f"{deploy.version} のデプロイ以降、悪化しています",
            "value": texts,
            "action": "Compare with the time before on the dashboard `api`; toban rolls nothing back by itself.",
            "action_ja": "ダッシュボード api でデプロイ前と比較してください。toban は自動でロールバックしません。",
        }
        posted = posted_alert(labels, annotations, deploy.at, until, deploy.url)
        await base.external_alerts.post("deploy guard", [posted], TOBAN)

    return DeployPorts(settings.deploys, base.engines.rules, report, base.incidents.wake)


def evaluated_rules(evaluation: EvaluationService) -> list[EvaluatedRule]:
    """Return the alerting rules: whether their data has ever been there, and the limits that can be changed."""
    found = []
    for group in evaluation.report().groups:
        for it in group.rules:
            if isinstance(it.rule, AlertRule):
                limit = limit_of(it.rule) if group.group.engine is RuleEngineName.EMBEDDED else None
                labels = {name: text.source for name, text in it.rule.labels.items()}
                rule = EvaluatedRule(
                    it.rule.name,
                    priority(labels | {ALERTNAME: it.rule.name}),
                    it.last.health is not RuleHealth.INACTIVE,
                    it.rule.query.reads(),
                    limit.left if limit else "",
                    limit.operator if limit else "",
                    float(limit.right) if limit else 0.0,
                    it.rule.for_,
                    group.interval,
                    it.rule.query.text,
                    group.group.engine.value,
                )
                found.append(rule)
    return found


def recorder_ports(settings: Settings) -> RecorderPorts:
    """Return what the history of firings uses under some settings."""
    paging = frozenset(name for name, channel in settings.channels.items() if channel.pages)
    return RecorderPorts(paging, ZoneInfo(settings.notify.timezone))
