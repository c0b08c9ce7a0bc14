"""What holds for every test: no test fails because the machine was busy."""

from hypothesis import settings

# Hypothesis fails an example that takes 200 ms unless told otherwise: a timed assertion, which no test of ours is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
