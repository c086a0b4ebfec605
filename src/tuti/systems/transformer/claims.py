"""What the sources say about the Transformer, and what became of it here."""

from tuti.run.claims import Claim

_POST = "the channel's post on the Transformer"
_PAPER = "Vaswani et al. 2017"
_NOT = "reported by its authors, not tested here"
_HERE = "pytest src/tuti/systems/transformer/tests"

CLAIMS = (
    Claim(
        "this is the last arrow for those who still struggle with the Transformer",
        _POST,
        _NOT,
        ours="whether anyone stops struggling was not measured",
    ),
    Claim(
        "it begins at the root: dot product and one-hot encoding; an embedding is a one-hot row "
        "times a matrix",
        _POST,
        "computed exactly",
        f"{_HERE}/test_reference.py::test_an_embedding_is_a_one_hot_row_times_a_matrix",
        "the same bits",
    ),
    Claim(
        "attention is dot products, a softmax and a weighted mean",
        f"{_PAPER}, equation 1",
        "computed exactly",
        f"{_HERE}/test_reference.py::test_the_decoder_is_these_loops",
        "loops over numbers, `reference.py`, give the decoder's hidden states to 1e-10",
    ),
    Claim(
        "it goes up to BPE: the most frequent pair of neighbours becomes one token, again and again",
        f"{_POST}; Sennrich et al. 2016, section 3.2",
        "computed exactly",
        "pytest src/tuti/text/tests/test_bpe.py::test_equals_the_slow_reference",
        "the fast trainer makes the merges of the literal definition",
    ),
    Claim(
        "a PyTorch implementation, line by line, whose inputs and variables one watches in a debugger",
        _POST,
        _NOT,
        ours="`reference.py` can be stepped through in any debugger; a view that shows the variables "
        "is not built yet",
    ),
    Claim(
        "a simple task shows it at work: give back a random input sequence",
        _POST,
        "reproduced in small",
        f"{_HERE}/test_break_it.py::test_it_learns_to_give_back_a_random_sequence",
        "8 random tokens come back right (held out, ≥ 95 % with the interval) after 150 updates; 12 "
        "do not: what is learnt is how far back to look",
    ),
    Claim(
        "without positions, attention does not know the order of its inputs",
        f"{_PAPER}, section 3.5",
        "reproduced in small",
        f"{_HERE}/test_break_it.py::test_without_rotation_the_past_is_a_bag",
        "one layer without rotation gives the same last state for any order of what came before; "
        "with it, not",
    ),
    Claim(
        "scores are divided by sqrt(E), since the dot product of E random factors has a variance of E",
        f"{_PAPER}, section 3.2.1",
        "reproduced in small",
        f"{_HERE}/test_break_it.py::test_undivided_scores_saturate_the_softmax",
        "E = 64: variance 64 within 10 %; undivided, the largest of 64 shares is above 0.7, divided "
        "below 0.2",
    ),
    Claim(
        "trained on text alone, it predicts held-out text better than counting does",
        "Radford et al. 2018; our own bar (docs/decisions/0003)",
        "reproduced in small",
        "pytest -m tiny src/tuti/systems/transformer/tests/test_tiny.py",
        "text of a grammar: 0.236 bits per byte, best byte n-gram 0.353, entropy 0.228; for Hafez "
        "and Shakespeare, `make bench NAME=ngram`",
    ),
    Claim(
        "28.4 BLEU on WMT 2014 English–German and 41.8 on English–French, after 3.5 days on 8 P100",
        f"{_PAPER}, abstract and table 2",
        _NOT,
        ours="no translation model is trained in this room",
    ),
    Claim(
        "a decoder with RMSNorm, SwiGLU and RoPE, trained on public text alone, is level with larger models",
        "Touvron et al. 2023, sections 2 and 3",
        _NOT,
        ours="the shape is the same, and its logits equal `transformers`' Llama to 1e-4 in both directions "
        "(`src/tuti/nn/tests/test_parity.py`); the size is not",
    ),
    Claim(
        "a maintained reading list goes with it",
        _POST,
        _NOT,
        ours="the room's README ends with a short one of our own; that it stays maintained cannot be tested",
    ),
)
