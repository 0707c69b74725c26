"""CLIP's byte-pair tokens, as CheXzero and SLIP use them."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import Any

import torch
from torch import Tensor

from bench.errors import MethodError
from methods._torchvision import make_torchvision_importable

CONTEXT = 77
# Lengths in tokens that `padded` pads to: one, six and ten clauses, and all there is room for.
LENGTHS = (16, 32, 48, CONTEXT)


@cache
def _tokenizer() -> Any:
    """open_clip's tokeniser, whose vocabulary takes longer to read than a small study's texts."""
    make_torchvision_importable()
    import open_clip

    return open_clip.SimpleTokenizer()


class Tokens:
    """CLIP's byte-pair tokens, each text encoded once, optionally over the used tokens only.

    A text of more than 77 tokens is cut and keeps its end token in the last place.
    """

    def __init__(
        self,
        texts: Iterable[str],
        *,
        compact: bool,
        keep_end: bool = True,
        pieces: Iterable[str] | None = None,
    ) -> None:
        """
        Args:
            texts: what can be asked for when `compact`.
            compact: number the used tokens only, for a tower with no other embeddings.
            keep_end: False cuts a long text without putting the end token back, as
                facebookresearch/SLIP@c6faf5d does. Its feature is then read at the largest token,
                the start, which has seen no word: all such texts get one and the same feature.
            pieces: what `pieces` of other Tokens said: those tokens are numbered, whatever the
                texts.
        """
        self._tokenizer = _tokenizer()
        self._end = self._tokenizer.eot_token_id
        self._keep_end = keep_end
        self._lists: dict[str, list[int]] = {}
        self._cut: set[str] = set()
        for text in texts:
            self._list(text)
        used = sorted({0, *(token for tokens in self._lists.values() for token in tokens)})
        if pieces is not None:
            used = sorted(self._tokenizer.encoder[piece] for piece in pieces)
        # Order is kept, so the end token stays the largest: the text tower finds it by argmax.
        self._compact = {token: index for index, token in enumerate(used)} if compact else None
        self.vocabulary_size = len(used) if compact else self._tokenizer.vocab_size
        self.pieces = tuple(self._tokenizer.decoder[token] for token in used) if compact else None
        """The tokens that are numbered, in their order; None when all of CLIP's are."""

    def __call__(self, texts: list[str]) -> Tensor:
        """(n, longest) int64 tokens, padded with zeros after the end token."""
        lists = [self._list(text) for text in texts]
        tokens = torch.zeros(len(lists), max(map(len, lists)), dtype=torch.long)
        for row, ids in enumerate(lists):
            if self._compact is not None:
                try:
                    ids = [self._compact[token] for token in ids]
                except KeyError:
                    raise MethodError(
                        f"'{texts[row]}' has a token that neither the texts nor the prompts of "
                        "this study hold; a tower trained from scratch has no embedding for it."
                    ) from None
            tokens[row, : len(ids)] = torch.tensor(ids)
        return tokens

    def padded(self, texts: list[str]) -> Tensor:
        """The same of one of four lengths, so that few shapes of batches occur."""
        tokens = self(texts)
        length = next(length for length in LENGTHS if length >= tokens.shape[1])
        return torch.nn.functional.pad(tokens, (0, length - tokens.shape[1]))

    def whole(self, texts: list[str]) -> Tensor:
        """The same for prompts, of which nothing may be cut.

        Raises:
            MethodError: a prompt has more than 77 tokens.
        """
        for text in texts:
            if self.is_truncated(text):
                raise MethodError(
                    f"The prompt '{text[:60]}...' has more than {CONTEXT} tokens; ask in fewer "
                    "words."
                )
        return self(texts)

    def is_truncated(self, text: str) -> bool:
        """Whether the text was cut at 77 tokens."""
        self._list(text)
        return text in self._cut

    def _list(self, text: str) -> list[int]:
        if text not in self._lists:
            ids = [self._tokenizer.sot_token_id, *self._tokenizer.encode(text), self._end]
            if len(ids) > CONTEXT:
                self._cut.add(text)
                ids = [*ids[: CONTEXT - 1], self._end] if self._keep_end else ids[:CONTEXT]
            self._lists[text] = ids
        return self._lists[text]
