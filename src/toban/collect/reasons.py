"""Why a connection failed, in words that help."""

import httpx2


def reason(error: BaseException) -> str:
    """
    Return what lies at the bottom of an error of the network.

    The client says "All connection attempts failed"; the system below it knows that the connection was refused.
    """
    if isinstance(error, TimeoutError | httpx2.TimeoutException):
        return "no answer in time"
    found, deepest = error, str(error)
    while cause := found.__cause__ or found.__context__:
        found = cause
        if isinstance(found, OSError) and found.strerror:
            deepest = found.strerror
    return deepest or type(error).__name__
