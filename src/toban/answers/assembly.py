"""Assembles the answers from channels under one configuration."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import httpx2

from toban.access.permissions import Permission
from toban.access.service import AccessService
from toban.answers.executor import AnswerExecutor
from toban.answers.line import LineAnswers
from toban.answers.pagerduty import PagerdutyAnswers
from toban.answers.people import permissions_of
from toban.answers.service import AnswerService, AnswerSource
from toban.answers.slack import SlackAnswers
from toban.answers.slack_socket import SlackSocket
from toban.answers.twilio import TwilioAnswers
from toban.core.metric_registry import MetricRegistry
from toban.core.ports import Clock, Service
from toban.incidents.assembly import Incidents
from toban.notify.channel import Channel, ChannelTools
from toban.notify.channels.line import Line
from toban.notify.channels.pagerduty import Pagerduty
from toban.notify.channels.slack import Slack
from toban.notify.channels.twilio import Twilio
from toban.runbooks.assembly import Runbooks
from toban.state.database import State


@dataclass(frozen=True, slots=True)
class Answers:
    """The service of answers, and the secrets that prove who sends one, by channel."""

    service: AnswerService
    sockets: Sequence[SlackSocket]
    slack_secrets: Mapping[str, str]
    pagerduty_secrets: Mapping[str, str]
    line_secrets: Mapping[str, str]
    twilio: Mapping[str, TwilioAnswers]
    twilio_tokens: Mapping[str, str]
    address: str
    """The URL of toban's pages, which a request of Twilio is signed with; empty for none."""

    @property
    def services(self) -> Sequence[Service]:
        """The services of a configuration."""
        return (self.service, *self.sockets)


def open_answers(
    channels: Mapping[str, Channel],
    tools: Callable[[], ChannelTools],
    incidents: Incidents,
    runbooks: Runbooks,
    access: AccessService,
    http: httpx2.AsyncClient,
    state: State,
    clock: Clock,
    meters: MetricRegistry,
) -> Answers:
    """Return what some settings ask for; ``tools`` returns the tools of one request to a channel's service."""
    policy = incidents.ports.policy
    executor = AnswerExecutor(incidents.commands, runbooks.commands, lambda: policy, clock)
    sources: dict[str, AnswerSource] = {}

    def permissions(person: str) -> frozenset[Permission]:
        return permissions_of(policy.on_call, person, access.accounts)

    slack_secrets, pagerduty_secrets, line_secrets = dict[str, str](), dict[str, str](), dict[str, str]()
    twilio, twilio_tokens = dict[str, TwilioAnswers](), dict[str, str]()
    for name, channel in channels.items():
        if isinstance(channel, Slack) and channel.takes_answers:
            sources[name] = SlackAnswers(channel, tools, policy.on_call, permissions, executor, state, clock)
            if channel.signing_secret:
                slack_secrets[name] = channel.signing_secret.get_secret_value()
        elif isinstance(channel, Pagerduty) and channel.webhook_secret:
            sources[name] = PagerdutyAnswers(name, policy.on_call, permissions, executor, state, clock)
            pagerduty_secrets[name] = channel.webhook_secret.get_secret_value()
        elif isinstance(channel, Line) and channel.channel_secret:
            sources[name] = LineAnswers(channel, tools, policy.on_call, permissions, executor, state, clock)
            line_secrets[name] = channel.channel_secret.get_secret_value()
        elif isinstance(channel, Twilio) and channel.signing_token and policy.address:
            sources[name] = twilio[name] = TwilioAnswers(name, policy.on_call, permissions, executor, state, clock)
            twilio_tokens[name] = channel.signing_token
    service = AnswerService(sources, state, clock, meters)
    sockets = [
        SlackSocket(channel, tools, service, http, clock, meters)
        for channel in channels.values()
        if isinstance(channel, Slack) and channel.app_token
    ]
    return Answers(
        service, sockets, slack_secrets, pagerduty_secrets, line_secrets, twilio, twilio_tokens, policy.address
    )
