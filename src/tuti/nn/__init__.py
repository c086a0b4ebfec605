"""Tensors to tensors: the parts that models are made of, and their files.

The letters of shapes, the same everywhere:
B batch, T time, S source (cached) time, D width, H heads, K key-value heads, G = H/K,
E head dim, F hidden (feed-forward), V vocabulary, L layers, N = B·T tokens.
"""

from tuti.nn.cache import CacheWindow, KVCache
from tuti.nn.decoder import Block, Decoder, DecoderConfig, nll, token_nll
from tuti.nn.dropout import Dropout
from tuti.nn.files import load_decoder, save_decoder
from tuti.nn.first_weights import look_back
from tuti.nn.gguf import read_gguf, read_packed_gguf
from tuti.nn.lora import LoRA, add_lora, merge_lora, save_lora
from tuti.nn.loss import IGNORE, each_nll, summed_nll

__all__ = [
    "IGNORE", "Block", "CacheWindow", "Decoder", "DecoderConfig", "Dropout", "KVCache", "LoRA",
    "add_lora", "each_nll", "load_decoder", "look_back", "merge_lora", "nll", "read_gguf",
    "read_packed_gguf", "save_decoder", "save_lora", "summed_nll", "token_nll",
]
