"""Texts as MedKLIP's queries ask them: one frozen vector a text.

Upstream's vectors are what Bio_ClinicalBERT gives at [CLS]. Neither that model nor the vectors are
in MedKLIP's checkpoint, so both are looked for beside it:

    checkpoint_final.pth            the weights that --weights names
    observation explanation.json    upstream's descriptions of the 75 entities
    Bio_ClinicalBERT/               vocab.txt and model.safetensors or pytorch_model.bin
    medklip_queries.npz             written at the first use; from then on the others can go

A network that starts from nothing is asked with the words of `RandomWords`.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol
from zipfile import BadZipFile

import numpy as np
import torch
from torch import Tensor

from bench.errors import MethodError
from methods._bert import CLINICAL_BERT, WordPiece, load_bert
from methods._medklip_names import ENTITIES

BERT_FOLDER = "Bio_ClinicalBERT"
DESCRIPTIONS = "observation explanation.json"
BOOK = "medklip_queries.npz"
MAX_TOKENS = 64  # upstream at test time; 128 in training, which only the longest entries notice
_UPSTREAM = "github.com/MediaBrain-SJTU/MedKLIP"


class Encoder(Protocol):
    """Something that gives texts their vectors."""

    source: str
    """What the vectors come from, for the record."""

    def __call__(self, texts: Sequence[str]) -> Tensor:
        """(n, width) float32 vectors."""

    def entities(self) -> Tensor:
        """(75, width) float32 vectors of the entities' descriptions."""

    def digest(self) -> str | None:
        """Twelve hex digits of the vectors given so far; None when they follow from the texts."""


class RandomWords:
    """The mean of fixed random vectors, one a word: knows no language, but keeps words apart.

    A word's vector depends on the word alone. Texts have unit variance whatever their length.
    """

    source = "frozen random word vectors"

    def __init__(self, width: int) -> None:
        self._width = width
        self._words: dict[str, Tensor] = {}

    def __call__(self, texts: Sequence[str]) -> Tensor:
        rows = []
        for text in texts:
            words = "".join(c if c.isalnum() else " " for c in text.lower()).split()
            total = torch.stack([self._word(word) for word in words or [""]]).sum(0)
            rows.append(total / max(1, len(words)) ** 0.5)
        return torch.stack(rows)

    def entities(self) -> Tensor:
        return self(ENTITIES)

    def digest(self) -> None:
        return None

    def _word(self, word: str) -> Tensor:
        if word not in self._words:
            seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
            drawn = np.random.default_rng(seed).standard_normal(self._width)
            self._words[word] = torch.from_numpy(drawn.astype(np.float32))
        return self._words[word]


class ClinicalBert:
    """Bio_ClinicalBERT's vectors at [CLS], kept in a book so that it is needed only once."""

    source = BERT_FOLDER

    def __init__(self, bert: Path, beside: Path | None = None) -> None:
        """
        Args:
            bert: folder of the model; need not exist while the book holds what is asked.
            beside: folder of MedKLIP's weights, with the descriptions and the book; None = the
                vectors are kept for this process only.
        """
        self._folder, self._beside = bert, beside
        self._model: Any = None
        self._book: dict[str, Tensor] = {}
        self._asked: set[str] = set()
        self._entities: Tensor | None = None
        if beside is not None and (beside / BOOK).is_file():
            self._read(beside / BOOK)

    def __call__(self, texts: Sequence[str]) -> Tensor:
        missing = [text for text in dict.fromkeys(texts) if text not in self._book]
        if missing:
            self._book |= dict(zip(missing, self._encode(missing), strict=True))
            self._write()
        self._asked.update(texts)
        return torch.stack([self._book[text] for text in texts])

    def entities(self) -> Tensor:
        """The same for the descriptions of the 75 entities.

        Raises:
            MethodError: the descriptions are not beside the weights, or are not 75.
        """
        if self._entities is None:
            self._entities = self._encode(_descriptions(self._beside))
            self._write()
        return self._entities

    def digest(self) -> str:
        told = hashlib.sha256()
        for text in sorted(self._asked):
            told.update(text.encode() + self._book[text].numpy().tobytes())
        if self._entities is not None:
            told.update(self._entities.numpy().tobytes())
        return told.hexdigest()[:12]

    def _encode(self, texts: Sequence[str]) -> Tensor:
        """(n, width); a vector does not depend on the texts beside it.

        Raises:
            MethodError: the model is not there; says which files to fetch and where to put them.
        """
        if self._model is None:
            if not self._folder.is_dir():
                raise MethodError(
                    f"MedKLIP asks with vectors of Bio_ClinicalBERT, and there is no folder "
                    f"{self._folder}. Fetch vocab.txt and pytorch_model.bin of {CLINICAL_BERT} "
                    f"(huggingface.co) into it. It is needed once: its vectors are kept in {BOOK} "
                    "beside the weights."
                )
            self._tokens = WordPiece.from_folder(self._folder)
            self._model = load_bert(self._folder).eval()
        with torch.no_grad():
            ids, mask = self._tokens(texts, MAX_TOKENS)
            return self._model(ids, attention_mask=mask).last_hidden_state[:, 0].clone()

    def _read(self, path: Path) -> None:
        try:
            with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
                vectors = _matrix(file["vectors"])
                self._book = dict(zip(file["texts"].tolist(), vectors, strict=True))
                if "entities" in file:
                    self._entities = _matrix(file["entities"], rows=len(ENTITIES))
        except (OSError, KeyError, ValueError, BadZipFile) as error:
            raise MethodError(
                f"{path} is not a book of queries ({error}); remove it, and it is made anew."
            ) from error

    def _write(self) -> None:
        """Keeps the vectors beside the weights; a folder that cannot be written to costs time."""
        if self._beside is None:
            return
        arrays = {
            "texts": np.array(list(self._book), dtype=np.str_),
            "vectors": torch.stack(list(self._book.values())).numpy()
            if self._book
            else np.zeros((0, 0), np.float32),
        }
        if self._entities is not None:
            arrays["entities"] = self._entities.numpy()
        with contextlib.suppress(OSError):
            _replace(self._beside / BOOK, arrays)


def _matrix(array: np.ndarray, rows: int | None = None) -> Tensor:
    """A float32 matrix of so many rows; a ValueError says what it is instead."""
    if array.ndim != 2 or array.dtype != np.float32 or rows not in (None, len(array)):
        raise ValueError(f"{array.dtype} of {array.shape}")
    return torch.from_numpy(array)


def _replace(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Writes by rename, so that a process beside this one reads the old book or the new one."""
    handle, name = tempfile.mkstemp(dir=path.parent, suffix=".npz")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise


def _descriptions(folder: Path | None) -> list[str]:
    """Upstream's descriptions in the order of its file, which is the order of `ENTITIES`."""
    path = (folder or Path()) / DESCRIPTIONS
    if not path.is_file():
        raise MethodError(
            f"MedKLIP's released weights are asked with upstream's descriptions of {len(ENTITIES)} "
            f"entities, and there is no {path}. Fetch '{DESCRIPTIONS}' from {_UPSTREAM} "
            "(folder Sample_zero-shot_Classification_CXR14); it has no licence, so it cannot come "
            "with this package."
        )
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise MethodError(f"{path} is not JSON: {error}. Fetch it anew.") from error
    # One of its names is misspelt; the order is what counts.
    wrong = not isinstance(told, dict) or len(told) != len(ENTITIES)
    if wrong or not all(isinstance(text, str) for text in told.values()):
        raise MethodError(
            f"{path} is not upstream's list of {len(ENTITIES)} descriptions. Fetch it anew."
        )
    differing = [name for name, mine in zip(told, ENTITIES, strict=True) if not mine.endswith(name)]
    if differing:
        raise MethodError(
            f"{path}: the entities are not in upstream's order (first: '{differing[0]}')."
        )
    return list(told.values())
