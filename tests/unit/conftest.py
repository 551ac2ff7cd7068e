"""What holds for all unit tests: the same examples every time, and few enough to be quick."""

from hypothesis import settings

settings.register_profile("unit", max_examples=30, deadline=None, derandomize=True, database=None)
settings.load_profile("unit")
