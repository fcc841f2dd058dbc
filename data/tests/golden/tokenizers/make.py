"""Writes tokenizers.json: a vocabulary, the patterns of published ones, and the tokens that the Python library
`tokenizers` (0.23.3) gives for texts in which engines of regular expressions differ.

One byte-pair encoding is learned without a pattern, so that its tokens reach over the borders of words: a
border anywhere else gives other tokens.
"""

import json
from pathlib import Path

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

ENDINGS = "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
PATTERNS = {
    "gpt2": r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    "cl100k": r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s",
    "llama3": ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "qwen2": ENDINGS + r"|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "o200k": r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+" + ENDINGS + r"?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "deepseek": r"[!\"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    "words": r"\w+|[^\w\s]+",
    "posix": r"[[:alpha:]]+|[[:digit:]]+|[[:punct:]]+|[[:space:]]+",
    "lines": r"^.+$|\s+",
    "folded": r"(?i)straße|ſo|ﬁ|\bk\b",
}
TEXTS = [
    "It's 12345 o'clock; WE'LL see, he'ſ said.\r\n\r\n  Two  spaces \t\n",
    "naïve cafe\u0301 Straße STRASSE straſſe ﬁnd FInd K k \u212a So ſo",
    "一二三 ひらがな ตัวเลข ١٢٣٤٥ ½ ² Ⅷ x² 3½\u00a0m\u2003wide\u0085line\u2028next\u3000end",
    "a_b __init__ $5.00+€6 <tag/> \U0001f469\u200d\U0001f52c ok\u200bzero co\u00adop \ufeffmark",
    "\n\n\nthree\n \nend   ",
]


def main():
    learned = Tokenizer(models.BPE())
    learned.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    learned.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=460, initial_alphabet=alphabet, show_progress=False, min_frequency=1)
    learned.train_from_iterator(TEXTS, trainer)
    base = json.loads(learned.to_str())
    base["model"]["merges"] = [" ".join(pair) for pair in base["model"]["merges"]]
    tokens = {}
    for name, pattern in PATTERNS.items():
        tokenizer = Tokenizer.from_str(learned.to_str())
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(pattern), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ])
        tokens[name] = [tokenizer.encode(text, add_special_tokens=False).ids for text in TEXTS]
    found = {"texts": TEXTS, "patterns": PATTERNS, "tokens": tokens, "base": base}
    text = json.dumps(found, ensure_ascii=True, separators=(",", ":"))
    Path(__file__).with_name("tokenizers.json").write_text(text + "\n")


main()
