"""Examples of property tests have no deadline: the first waits for a compiler, and any may wait for
a busy machine, neither of which says anything about the code."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("patient", deadline=None)
settings.load_profile("patient")
