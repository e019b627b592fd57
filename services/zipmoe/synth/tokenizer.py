"""Tokenizer: a byte-level BPE that was never trained. Its tokens are bytes, then sequences of letters.

Every id below the vocabulary's size decodes to text, so what a synthetic model says can be shown, though it means
nothing. Text takes about one token for three letters, somewhat more than with a trained vocabulary.
"""

from collections.abc import Iterator, Mapping
from itertools import product
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

# In the order of their frequency in English; Ġ is a space, and begins a token or does not occur in it.
LETTERS = "etaoinshrdlucmfwypvbgkjqxz"
FIRST = "Ġ" + LETTERS
SPECIAL = {"pad_token_id": "<|padding|>", "bos_token_id": "<|begin|>", "eos_token_id": "<|endoftext|>"}


def special_tokens(config: Mapping[str, Any]) -> dict[int, str]:
    """By id. The last name wins where two share one."""
    return {config[key]: name for key, name in SPECIAL.items() if config.get(key) is not None}


def tokenizer(config: Mapping[str, Any]) -> Tokenizer:
    """With exactly `vocab_size` tokens, the special ones of `config` at their ids."""
    special = special_tokens(config)
    ids = (number for number in range(config["vocab_size"]) if number not in special)
    vocabulary = {byte: next(ids) for byte in sorted(pre_tokenizers.ByteLevel.alphabet())}
    merges = []
    for number, (left, right) in zip(ids, _sequences(), strict=False):
        vocabulary[left + right] = number
        merges.append((left, right))
    vocabulary |= {name: number for number, name in special.items()}
    made = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    made.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special.values()])
    return made


def _sequences() -> Iterator[tuple[str, str]]:
    """Two letters, then three, then four, the frequent first; each as the two parts it is merged from."""
    rank = {letter: at for at, letter in enumerate(FIRST)}
    pairs = [first + second for first, second in product(FIRST, LETTERS)]
    inner = [first + second for first, second in product(LETTERS, LETTERS)]
    for left, right in ((list(FIRST), list(LETTERS)), (pairs, list(LETTERS)), (pairs, inner)):
        cost = {part: sum(rank[letter] for letter in part) for part in (*left, *right)}
        yield from sorted(product(left, right), key=lambda both: cost[both[0]] + cost[both[1]])
