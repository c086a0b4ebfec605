"""The shapes of Mixtral: as it is, and the small ones that two cores can run."""

from tuti.nn import DecoderConfig

MIXTRAL_8X7B = DecoderConfig(
    vocab=32000, width=4096, layers=32, heads=32, kv_heads=8, head_dim=128, hidden=14336, context=32768,
    rope_theta=1e6, norm_eps=1e-5, tied=False, experts=8, active=2,
)
"""Jiang et al. 2024, table 1; the base frequency of the rotation from its config.json"""
SMALL = DecoderConfig(
    vocab=32000, width=512, layers=8, heads=8, kv_heads=2, head_dim=64, hidden=1792, context=32768,
    rope_theta=1e6, tied=False, experts=8,
)
"""An eighth as wide: 214 million parameters, of which 82 million work on a token"""
TINY = DecoderConfig(
    vocab=512, width=64, layers=2, heads=4, kv_heads=2, head_dim=16, hidden=224, context=32768,
    rope_theta=1e6, tied=False, experts=8,
)
"""The same proportions, for tests"""
SHAPES = {"mixtral-8x7b": MIXTRAL_8X7B, "small": SMALL, "tiny": TINY}
