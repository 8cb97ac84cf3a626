"""Check the configuration and try each connection."""

import os
from pathlib import Path

import click

from toban.cli.client import config_option
from toban.cli.formatting import columns, say
from toban.core.lifecycle import run
from toban.core.log_setup import configure
from toban.preflight import proved, remote_tried, streams_tried, tried
from toban.settings import load, rules


@click.command
@config_option
def command(config: Path | None) -> int:
    """Check the configuration exactly as `toban up` would read it, and look once at each target."""
    configure("error")  # what a look finds is said below
    settings = load(config, os.environ)
    groups = rules(settings)
    targets, unknown = run(tried(settings))
    say("The configuration is in order.\n")
    for line in columns(
        (
            "●" if target.up else "▲",
            target.name,
            target.instance,
            target.trouble or f"{target.samples} numbers",
        )
        for target in targets
    ):
        say(line)
    for target in targets:
        for note in target.notes:
            say(f"\n{target.name}: {note}")
    if unknown:
        say("\nNot part of /health:")
        for line in columns((it.name, it.reason) for it in unknown):
            say(line)
    outside = run(remote_tried(settings))
    logs = run(streams_tried(settings))
    for title, well, found in (("The outside engine:", "takes it", outside), ("Fly's logs:", "is there", logs)):
        if found:
            say(f"\n{title}")
        for line in columns(("▲" if trouble else "●", url, trouble or well) for url, trouble in found):
            say(line)
    proofs = run(proved(settings))
    say(f"\n{sum(len(group.rules) for group in groups)} rules judge. {_told(len(proofs))}")
    for line in columns(("●" if proof.ok else "▲", name, proof.says) for name, proof in proofs):
        say(line)
    all_well = all([*(target.up for target in targets), *(proof.ok for _, proof in proofs)])
    return 0 if all_well and not any(trouble for _, trouble in [*outside, *logs]) else 1


def _told(channels: int) -> str:
    return "Who hears of it:" if channels else "No channel is configured: nobody is told (docs/NOTIFYING.md)."
