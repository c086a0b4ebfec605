"""Strings ↔ ids: normalisation, the split into words, byte-level BPE, the tokenizer, the chat template."""

from tuti.text.chat import ChatTemplate as ChatTemplate
from tuti.text.normalise import half_spaces as half_spaces
from tuti.text.normalise import has_words as has_words
from tuti.text.normalise import is_persian as is_persian
from tuti.text.normalise import normalise as normalise
from tuti.text.normalise import script_of as script_of
from tuti.text.normalise import without_vowel_signs as without_vowel_signs
from tuti.text.split import words_of as words_of
from tuti.text.tokenizer import Tokenizer as Tokenizer
