"""`bench` that keeps the state of every training after every epoch, for the campaign of faults.

Run as a file: a worker process that is spawned imports it again, and is as impatient. Trainings of
a second would never be interrupted with a state beside them otherwise.
"""

from __future__ import annotations

from bench.cli import main
from bench.runs import resume

resume.LEAST = 0.0
resume._RATIO = 0

if __name__ == "__main__":
    main()
