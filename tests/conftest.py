"""What holds for all tests."""

from hypothesis import settings

# A machine that is busy with other tests must not fail one: no test asserts a time.
settings.register_profile("toban", deadline=None)
settings.load_profile("toban")
