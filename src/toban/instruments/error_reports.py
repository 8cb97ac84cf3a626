"""toban's own unexpected errors, reported to Sentry where that is set up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Final

import structlog

import toban
from toban.core.config_types import Secret, Section
from toban.core.errors import SettingsError, TobanError
from toban.core.exception_hook import exceptions_reported_to
from toban.core.metric_registry import MetricRegistry
from toban.core.samples import counter
from toban.instruments.sentry_sdk_options import IS_DSN, load_sdk, options

if TYPE_CHECKING:
    from sentry_sdk import Client

MAX_DIFFERENT: Final = 500
"""How many different errors are remembered as reported."""

FLUSH_SECONDS: Final = 1.5
"""How long the end waits until reports are sent."""

REPORTS: Final = counter(
    "toban_error_reports_total",
    "toban's own unexpected errors: `reported` to Sentry, `repeated` ones, and those whose report `failed`.",
    labels=["outcome"],
)

log = structlog.get_logger("toban.errors")


class ErrorSettings(Section):
    """Errors: Sentry's webhook at `/hooks/sentry`, and reports of toban's own errors (docs/sentry.md)."""

    sentry_dsn: Annotated[Secret, IS_DSN] | None = None
    """The DSN of the project that receives toban's own unexpected errors; needs the extra `sentry`."""

    environment: str = "production"
    """The environment that these errors are reported with."""

    sentry_client_secret: Secret | None = None
    """The client secret of the integration at Sentry that sends its webhook; without it, the webhook is refused."""


class ErrorReports:
    """
    Reports each unexpected error once, to a client of its own: nothing of the process is patched.

    Two errors are the same when they have the same type and were raised at the same line.
    """

    def __init__(self, meters: MetricRegistry) -> None:
        self._meters = meters
        self._settings = ErrorSettings()
        self._client: Client | None = None
        self._reported: dict[object, None] = {}
        """Errors by `_key`, those that came last at the end."""

    async def configure(self, settings: ErrorSettings) -> None:
        """Report by these settings from now on. Raises ``SettingsError`` where the SDK is not installed."""
        if settings.sentry_dsn != self._settings.sentry_dsn or settings.environment != self._settings.environment:
            await self.close()
            dsn = settings.sentry_dsn
            # Importing the SDK takes a third of a second.
            self._client = (
                await asyncio.to_thread(_open_client, dsn.get_secret_value(), settings.environment) if dsn else None
            )
        self._settings = settings

    async def close(self) -> None:
        """Wait until what was reported is sent, up to `FLUSH_SECONDS`, and report nothing more."""
        client, self._client = self._client, None
        if client:
            await asyncio.to_thread(client.close, timeout=FLUSH_SECONDS)

    def report(self, error: BaseException, event: str) -> None:
        """Report an error that was logged as ``event``, unless one like it was reported before."""
        if self._client is None or isinstance(error, TobanError):
            return
        key = _key(error)
        is_known = key in self._reported
        self._reported.pop(key, None)
        self._reported[key] = None
        if len(self._reported) > MAX_DIFFERENT:
            del self._reported[next(iter(self._reported))]
        outcome = "repeated" if is_known else "reported"
        try:
            if not is_known:
                _capture(self._client, error, event)
        except Exception as failure:  # what logs the error must go on
            outcome = "failed"
            log.warning("error not reported", error=f"{type(failure).__name__}: {failure}")
        self._meters.add(REPORTS, outcome=outcome)


@asynccontextmanager
async def open_error_reports(settings: ErrorSettings, meters: MetricRegistry) -> AsyncIterator[ErrorReports]:
    """Report what is logged with an exception, and what ends the block."""
    reports = ErrorReports(meters)
    try:
        await reports.configure(settings)
        with exceptions_reported_to(reports.report):
            yield reports
    except Exception as error:
        reports.report(error, "service failed")
        raise
    finally:
        await reports.close()


def _open_client(dsn: str, environment: str) -> "Client":
    try:
        sdk = load_sdk()
    except SettingsError as error:
        raise SettingsError(f"errors.sentry_dsn: {error}") from error
    settings: dict[str, Any] = {
        **options(dsn, environment),
        "release": f"toban@{toban.__version__}",
        "default_integrations": False,
        "auto_enabling_integrations": False,
        "auto_session_tracking": False,
        "max_breadcrumbs": 0,
    }
    client: Client = sdk.Client(**settings)
    return client


def _capture(client: "Client", error: BaseException, event: str) -> None:
    found, hint = load_sdk().utils.event_from_exception(error, client_options=client.options)
    found["tags"] = {"event": event}
    client.capture_event(found, hint)


def _key(error: BaseException) -> object:
    """Return what equal errors have in common: types and places, also of the errors of a group."""
    if isinstance(error, BaseExceptionGroup):
        return type(error), tuple(map(_key, error.exceptions[:10]))
    trace = error.__traceback__
    while trace and trace.tb_next:
        trace = trace.tb_next
    return type(error), trace and (trace.tb_frame.f_code.co_filename, trace.tb_lineno)
