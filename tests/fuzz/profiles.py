"""How many cases a fuzzer tries: a few, always the same, with the other tests; 10,000 new ones in ``make fuzz``."""

import os

from hypothesis import HealthCheck, settings

_SLOW = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]

settings.register_profile(
    "quick", max_examples=25, deadline=None, derandomize=True, print_blob=True, suppress_health_check=_SLOW
)
settings.register_profile(
    "fuzz", max_examples=10_000, deadline=None, derandomize=False, print_blob=True, suppress_health_check=_SLOW
)

# what make fuzz sets; FUZZ_CASES tries another number
PROFILE = os.environ.get("HYPOTHESIS_PROFILE", "quick")
fuzzed = settings(
    settings.get_profile(PROFILE),
    max_examples=int(os.environ.get("FUZZ_CASES", settings.get_profile(PROFILE).max_examples)),
)
