"""Pure functions, arrays in, arrays out: metrics, intervals, tests, power. No torch, no files."""
