"""Models that go by a name: `hf-hub:OWNER/NAME`, `local-dir:FOLDER`."""

from __future__ import annotations

import hashlib
from pathlib import Path

from bench.errors import MethodError, UsageError
from bench.protocol.references import FOLDER, HUB
from bench.protocol.weight_files import digest_of_file

# What of a repository is used: settings, vocabularies and PyTorch weights.
_WANTED = "config, weights, tokenizer and processor files"
_SMALL = ("*.json", "*.txt", "*.model")
_SAFE, _PICKLED = "*.safetensors", "*.bin"


def folder_of(reference: str) -> Path:
    """The folder with the files of a named model; a hub model is fetched into the hub's cache.

    Raises:
        UsageError: there is no such folder.
        MethodError: the hub cannot be reached and the cache does not hold the model.
    """
    if reference.startswith(FOLDER):
        folder = Path(reference.removeprefix(FOLDER)).expanduser()
        if not folder.is_dir():
            raise UsageError(f"--weights {reference}: there is no folder {folder}.")
        return folder.resolve()
    return _fetched(reference)


def _fetched(reference: str) -> Path:
    import huggingface_hub

    name, _, revision = reference.removeprefix(HUB).partition("@")
    try:
        for weights in (_SAFE, _PICKLED):  # many repositories hold the same weights in both
            folder = Path(
                huggingface_hub.snapshot_download(
                    name, revision=revision or None, allow_patterns=[*_SMALL, weights]
                )
            )
            if any(folder.glob(weights)):
                break
        return folder
    except Exception as error:  # the hub's client raises errors of several HTTP libraries
        reason = str(error).strip().splitlines()
        own = name.rpartition("/")[2]
        raise MethodError(
            f"--weights {reference}: {name} is neither in the hub's cache nor can it be fetched "
            f"({type(error).__name__}: {reason[0] if reason else 'no reason given'}). On a machine "
            f"with network: hf download {name} --local-dir {own}; copy that folder ({_WANTED}) "
            f"here and give --weights local-dir:{own}."
        ) from error


def digest_of_folder(folder: Path) -> str:
    """SHA-256 over the names and contents of the model's files, wherever the folder lies."""
    patterns = (*_SMALL, _SAFE, _PICKLED)
    files = {
        path.relative_to(folder).as_posix(): path
        for pattern in patterns
        for path in folder.rglob(pattern)
    }
    if not files:
        raise MethodError(f"{folder} holds none of a model's files ({', '.join(patterns)}).")
    told = "".join(f"{name} {digest_of_file(path)}\n" for name, path in sorted(files.items()))
    return hashlib.sha256(told.encode()).hexdigest()
