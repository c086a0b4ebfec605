"""Generation: sampling, the plain loop, the engine with continuous batching."""

from tuti.infer.generate import Token, generate, sample_text
from tuti.infer.sampling import Sampling, sample
from tuti.infer.stops import StopText

__all__ = ["Sampling", "StopText", "Token", "generate", "sample", "sample_text"]
