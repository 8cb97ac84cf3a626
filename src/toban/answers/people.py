"""Who answers: the people of `on_call`, by what names them at each service, and what they may do."""

from toban.access.accounts import Accounts
from toban.access.permissions import PUBLIC, Permission, Role
from toban.oncall.settings import OnCallSettings


def person_at_slack(on_call: OnCallSettings, member: str) -> str:
    """Return the person with a member ID; empty if nobody has it."""
    return next((name for name, it in on_call.people.items() if it.slack and it.slack == member), "")


def person_with_email(on_call: OnCallSettings, email: str) -> str:
    """Return the person with an e-mail address; empty if nobody has it."""
    wanted = email.strip().casefold()
    return next((name for name, it in on_call.people.items() if wanted and it.email.casefold() == wanted), "")


def person_at_line(on_call: OnCallSettings, user: str) -> str:
    """Return the person with a user ID at LINE; empty if nobody has it."""
    return next((name for name, it in on_call.people.items() if it.line and it.line == user), "")


def person_with_phone(on_call: OnCallSettings, number: str) -> str:
    """Return the person with a telephone number; empty if nobody has it."""
    return next((name for name, it in on_call.people.items() if it.phone and it.phone == number), "")


def person_at_pagerduty(on_call: OnCallSettings, user: str, email: str) -> str:
    """Return the person with a user ID or an e-mail address at PagerDuty; empty if nobody has it."""
    ids = {it for it in (user, email.strip().casefold()) if it}
    for name, it in on_call.people.items():
        if it.pagerduty and (it.pagerduty in ids or it.pagerduty.casefold() in ids):
            return name
    return person_with_email(on_call, email)


def permissions_of(on_call: OnCallSettings, person: str, accounts: Accounts) -> frozenset[Permission]:
    """Return what a person may do: by the role of their user; without one they are an operator."""
    known = on_call.people.get(person)
    user = accounts.user((known.user if known else "") or person)
    if user is None:
        return Role.OPERATOR.permissions
    return user.role.permissions if user.enabled else PUBLIC
