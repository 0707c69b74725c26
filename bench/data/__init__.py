"""Where images, labels and report text come from."""

from bench.data.dataset import Dataset, load_dataset

__all__ = ["Dataset", "load_dataset"]
