"""Ways to run the trials of a plan. Each takes specs and calls back once a trial has ended."""
