"""A study's records as figures for print; see `make.py`. Numbers are those of `bench table`."""
