"""Settings of deploys."""

from datetime import timedelta

from toban.core.config_types import Duration, Secret, Section


class DeploySettings(Section):
    """Deploys of the shop: what records them, and how long the time after one is watched."""

    watch: Duration = timedelta(minutes=30)
    """How long the time after a deploy is compared with the time before."""

    github_secret: Secret | None = None
    """The secret of GitHub's webhook at `/hooks/github`; without it, the webhook is refused."""

    fly: bool = True
    """Whether a new release of an app at Fly.io, as the collector `fly` sees it, is a deploy."""
