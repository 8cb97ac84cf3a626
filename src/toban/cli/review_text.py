"""The review of thresholds as text: proposals with their evidence, refusals, applied limits."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Final

from toban.cli.formatting import short_time
from toban.core.number_format import Unit, format_value

LISTED: Final = 5
"""How many firings and incidents of each are listed; `--json` has all."""

VERDICTS: Final = {
    "too_early": "too early to compare",
    "changed": "in force no longer: the rule has changed since",
    "unknown": "not compared",
    "misses": "it MISSED incidents that the limit before would have found",
    "helped": "it helped",
    "no_difference": "it does not fire less often",
}


def proposals_text(run: Mapping[str, Any]) -> str:
    """Return what a review of thresholds found."""
    if run["started"] is None:
        return "Limits were not reviewed yet: `toban review --propose` looks for better ones."
    lines = [line for it in run["proposals"] for line in (*_proposal(it), "")]
    if run["proposals"]:
        lines.append("`toban review --apply RULE`, or the page /review, writes one into toban.yaml.")
    else:
        lines.append("No limit saves firings without missing an incident.")
    for reason, found in groupby(sorted(run["refusals"], key=_reason), key=_reason):
        refused = list(found)
        lines.append(f"  {reason}: {', '.join(it['rule'] for it in refused)}")
        lines += [line for it in refused for line in _judged(it["rule"], it["judged"])]
    lines += ["", f"{run['incidents']} true incidents in 90 days, {len(run['unnoticed'])} in which nothing fired:"]
    lines += [f"  {_incident(it)}" for it in run["unnoticed"][-LISTED:]]
    if run["applied"]:
        lines += ["", applied_text(run["applied"])]
    return "\n".join(lines)


def applied_text(applied: Sequence[Mapping[str, Any]]) -> str:
    """Return the limits that were applied, and whether they have helped."""
    return "\n".join(["Limits that were applied:", *(line for it in applied for line in _applied(it))])


def _proposal(it: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"{it['rule']}: of {it['fired']} firings in {it['days']:.0f} days {it['saved']} would not have been"
        f" ({it['judged']['saved_pages']} pages); kept {it['found']} of {it['found']} true incidents,"
        f" {_later(it['later_seconds'])}, at worst {_later(it['worst_seconds'])} ({it['source']})"
    )
    yield from (f"  {name}: {value}" for name, value in it["override"].items())
    yield from _saved(it["judged"])
    yield from _judged(it["rule"], it["others"])
    if it["obstacle"]:
        yield f"  can't be applied: {it['obstacle']}"


def _judged(rule: str, judged: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Return the limits that were tried: what each would have saved and missed."""
    for it in judged:
        text = f"    {rule} {_change(it)}: saves {it['saved']} ({it['saved_pages']} pages)"
        if it["missed"]:
            text += f", misses {', '.join(_incident(one) for one in it['missed'][-LISTED:])}{_more(it['missed'])}"
        yield text


def _saved(judged: Mapping[str, Any]) -> Iterator[str]:
    for it in judged["saved_firings"][-LISTED:]:
        yield f"    saved: {short_time(it['fired'])} {it['labels']}{_pages(it['pages'])}"
    if more := _more(judged["saved_firings"]):
        yield f"   {more}"


def _applied(it: Mapping[str, Any]) -> Iterator[str]:
    yield (
        f"  {it['rule']} {_number(it['old_limit'])} → {_number(it['limit'])}, {short_time(it['at'])} by {it['by']}:"
        f" promised {it['saved_per_month']:.1f} firings a month less, {it['found']} incidents kept"
    )
    found = it["follow_up"]
    if found is None:
        yield "    compared at the next review"
        return
    text = VERDICTS[found["verdict"]] + (f": {found['error']}" if found["error"] else "")
    yield f"    {text} ({found['days']:.0f} days)"
    for name, figures in (("before", found["before"]), ("after", found["after"])):
        if figures:
            acted = "–" if figures["acted_on"] is None else f"{figures['acted_on']:.0%}"
            yield (
                f"    {name}: {figures['per_week']:.1f} firings a week, {figures['useless']} useless,"
                f" {figures['pages']} pages, acted on {acted}"
            )
    yield from (f"    missed: {_incident(one)}" for one in found["missed"][-LISTED:])


def _change(it: Mapping[str, Any]) -> str:
    return f"for {_seconds(it['for_seconds'])}" if it["limit"] is None else _number(it["limit"])


def _incident(it: Mapping[str, Any]) -> str:
    return f"{it['name']} ({short_time(it['begins'])})"


def _later(seconds: float) -> str:
    return f"{_seconds(abs(seconds))} {'earlier' if seconds < 0 else 'later'}"


def _seconds(seconds: float) -> str:
    return format_value(seconds, Unit.SECONDS)


def _number(value: float) -> str:
    return f"{value:.12g}"


def _pages(many: int) -> str:
    return f", {many} pages" if many else ""


def _more(found: Sequence[Any]) -> str:
    return f" and {len(found) - LISTED} more" if len(found) > LISTED else ""


def _reason(refusal: Mapping[str, str]) -> str:
    return refusal["reason"]
