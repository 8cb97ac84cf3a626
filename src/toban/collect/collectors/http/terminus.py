"""Health responses in the format of Terminus, which Vendure and other NestJS programs use."""


def health_error(response: object) -> str:
    """
    Return the error in a health endpoint's JSON, empty when it is healthy or in another format.

    The status ``shutting_down`` may come with checks that are all healthy: the program is stopping.
    """
    if not isinstance(response, dict) or not isinstance(response.get("details"), dict):
        return ""
    if response.get("status") == "shutting_down":
        return "shutting down"
    if response.get("status") != "error":
        return ""
    down = response.get("error")
    names = sorted(str(name)[:40] for name in down)[:10] if isinstance(down, dict) else []
    return f"{', '.join(names)} down" if names else "unhealthy"
