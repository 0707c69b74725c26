"""What the BERT-based methods share: WordPiece tokens, and BERT at any size from its own weights.

The text tower of MedCLIP and the queries of MedKLIP are Bio_ClinicalBERT. Its hub repository ships
a cased vocabulary and a configuration that does not say so, so that every user of it lower-cases
(EmilyAlsentzer/clinicalBERT#26); the weights of both methods were trained with that, and so it
stays.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from bench.errors import MethodError, UsageError
from bench.protocol.weights import load_checkpoint, load_strictly
from methods._torchvision import make_torchvision_importable

CLINICAL_BERT = "emilyalsentzer/Bio_ClinicalBERT"
CLINICAL_PIECES = 28_996
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
_HEAD_WIDTH = 64  # of every published BERT; the number of heads is in no state_dict
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


class WordPiece:
    """BERT's tokens of lower-cased text: [CLS], word pieces, [SEP]."""

    def __init__(self, vocabulary: Sequence[str]) -> None:
        """
        Args:
            vocabulary: the pieces in the order of their ids, the five special ones included.

        Raises:
            UsageError: a special piece is missing.
        """
        from tokenizers import BertWordPieceTokenizer

        ids = {piece: index for index, piece in enumerate(vocabulary)}
        missing = [piece for piece in _SPECIAL if piece not in ids]
        if missing:
            raise UsageError(
                f"The vocabulary of {len(vocabulary)} pieces lacks {', '.join(missing)}: it is not "
                f"BERT's. Fetch vocab.txt of {CLINICAL_BERT}."
            )
        self.size = len(vocabulary)
        self.pieces = tuple(vocabulary)
        self._pad = ids["[PAD]"]
        self._tokenizer = BertWordPieceTokenizer(ids, lowercase=True)

    @classmethod
    def from_folder(cls, folder: Path) -> Self:
        """The tokens of the `vocab.txt` in a folder.

        Raises:
            UsageError: there is none.
        """
        path = folder / "vocab.txt"
        if not path.is_file():
            raise UsageError(
                f"No vocabulary at {path}. Fetch vocab.txt of {CLINICAL_BERT} (huggingface.co) and "
                "put it there, beside the weights."
            )
        return cls(path.read_text(encoding="utf-8").splitlines())

    @classmethod
    def of_texts(cls, texts: Iterable[str]) -> Self:
        """Tokens for a tower that starts from nothing: every word of `texts` is a piece."""
        from tokenizers.normalizers import BertNormalizer
        from tokenizers.pre_tokenizers import BertPreTokenizer

        normalise, split = BertNormalizer(lowercase=True), BertPreTokenizer()
        words = {
            word
            for text in texts
            for word, _ in split.pre_tokenize_str(normalise.normalize_str(text))
        }
        return cls([*_SPECIAL, *sorted(words - set(_SPECIAL))])

    def __call__(self, texts: Sequence[str], max_length: int) -> tuple[Tensor, Tensor]:
        """Ids and attention mask of texts, both (n, longest) int64, padded at the end.

        A text of more than `max_length` tokens is cut and keeps its [SEP] in the last place.
        """
        lists = [self._ids(text, max_length) for text in texts]
        longest = max(map(len, lists), default=0)
        ids = torch.full((len(lists), longest), self._pad, dtype=torch.long)
        mask = torch.zeros_like(ids)
        for row, tokens in enumerate(lists):
            ids[row, : len(tokens)] = torch.tensor(tokens)
            mask[row, : len(tokens)] = 1
        return ids, mask

    def length(self, text: str) -> int:
        """How many tokens a text has, [CLS] and [SEP] included and nothing cut."""
        return len(self._tokenizer.encode(text).ids)

    def is_truncated(self, text: str, max_length: int) -> bool:
        """Whether a text has more than `max_length` tokens."""
        return self.length(text) > max_length

    def _ids(self, text: str, max_length: int) -> list[int]:
        ids = self._tokenizer.encode(text).ids
        return ids if len(ids) <= max_length else [*ids[: max_length - 1], ids[-1]]


def bert(
    *,
    vocabulary: int,
    width: int,
    layers: int,
    inner: int,
    heads: int | None = None,
    positions: int = 512,
    segments: int = 2,
    dropout: float = 0.1,
) -> Any:
    """A BertModel of transformers with random weights.

    Args:
        inner: width of the feed-forward layers.
        heads: attention heads; `width` / 64 unless given.
    """
    make_torchvision_importable()
    from transformers import BertConfig, BertModel

    settings: Any = {
        "vocab_size": vocabulary,
        "hidden_size": width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads or max(1, width // _HEAD_WIDTH),
        "intermediate_size": inner,
        "max_position_embeddings": positions,
        "type_vocab_size": segments,
        "hidden_dropout_prob": dropout,
        "attention_probs_dropout_prob": dropout,
    }
    return BertModel(BertConfig(**settings))


def bert_like(state: Mapping[str, Tensor], heads: int | None = None) -> Any:
    """A BertModel with random weights of the sizes that a BERT's tensors have.

    Args:
        state: tensors under BERT's own names (`bert_state`), of whatever values.

    Raises:
        MethodError: the tensors are not a BERT's.
    """
    word, place = "embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight"
    segment, first = "embeddings.token_type_embeddings.weight", "encoder.layer.0.intermediate"
    needed = (word, place, segment, f"{first}.dense.weight")
    missing = [key for key in needed if key not in state]
    if missing:
        raise MethodError(f"These tensors are not a BERT's: {missing[0]} is missing.")
    heads = heads or max(1, state[word].shape[1] // _HEAD_WIDTH)
    if state[word].shape[1] % heads:
        raise MethodError(f"A BERT of width {state[word].shape[1]} cannot have {heads} heads.")
    return bert(
        vocabulary=state[word].shape[0],
        width=state[word].shape[1],
        layers=1 + max(int(key.split(".")[2]) for key in state if key.startswith("encoder.layer.")),
        inner=state[f"{first}.dense.weight"].shape[0],
        heads=heads,
        positions=state[place].shape[0],
        segments=state[segment].shape[0],
    )


def bert_state(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published BERT's tensors under the names of BertModel.

    The prefix `bert.`, the heads of pre-training (`cls.`) and the stored counter `position_ids` go;
    LayerNorm's old names gamma and beta become weight and bias.
    """
    renamed: dict[str, Tensor] = {}
    for key, value in state.items():
        if key.startswith("cls.") or key.endswith("position_ids"):
            continue
        key = key.removeprefix("bert.")
        key = key.replace("LayerNorm.gamma", "LayerNorm.weight")
        renamed[key.replace("LayerNorm.beta", "LayerNorm.bias")] = value
    return renamed


def is_bert(state: Mapping[str, Tensor]) -> bool:
    """Whether a state_dict is that of a BERT by itself, with or without the heads it trained."""
    return "embeddings.word_embeddings.weight" in bert_state(state)


def load_bert(folder: Path, heads: int | None = None) -> Any:
    """The BertModel of a folder with weights (`model.safetensors` or `pytorch_model.bin`).

    Raises:
        UsageError: there is no file of weights in it.
        MethodError: the file is not exactly a BERT's.
    """
    path = weight_file(folder)
    state = bert_state(load_checkpoint(str(path)).state)
    model = bert_like(state, heads)
    load_strictly(model, state, where=str(path))
    return model


def weight_file(folder: Path) -> Path:
    """The file of weights in a folder of transformers.

    Raises:
        UsageError: there is none.
    """
    paths = [folder / name for name in _WEIGHT_FILES]
    for path in paths:
        if path.is_file():
            return path
    raise UsageError(
        f"No weights in {folder}: neither {' nor '.join(_WEIGHT_FILES)}. For {CLINICAL_BERT} fetch "
        "pytorch_model.bin and vocab.txt (huggingface.co) and put both there."
    )
