"""Health in the words of Terminus, which Vendure and other NestJS programs speak."""


def health_error(answer: object) -> str:
    """
    Return what a health endpoint's JSON complains of, or nothing when it is well or says something else.

    ``shutting_down`` may stand above checks that are all well: the program is on its way out.
    """
    if not isinstance(answer, dict) or not isinstance(answer.get("details"), dict):
        return ""
    if answer.get("status") == "shutting_down":
        return "shutting down"
    if answer.get("status") != "error":
        return ""
    down = answer.get("error")
    names = sorted(str(name)[:40] for name in down)[:10] if isinstance(down, dict) else []
    return f"{', '.join(names)} down" if names else "not well"
