"""What the sources say about fine-tuning as practised in 2025, and what became of it here."""

from tuti.run.claims import Claim

_POST = "the channel's post on fine-tuning in 2025"
_NOT = "reported by its authors, not tested here"
_SMALL = "reproduced in small"
_HERE = "pytest src/tuti/systems/finetune/tests"

CLAIMS = (
    Claim(
        "there is a time to fine-tune and a time to prompt",
        _POST,
        _NOT,
        ours="no comparison of the two was made; a table that chooses is not built yet",
    ),
    Claim(
        "supervised fine-tuning (SFT) teaches a pretrained model to answer",
        _POST,
        _SMALL,
        f"{_HERE}/test_sft.py::test_sft_learns_to_answer_and_keeps_the_text",
        "on a small generated corpus the held-out dialogue loss falls by more than 1 nat a token, a known "
        "question is answered and the answer stops; bits per byte of plain text rise by less than 0.05",
    ),
    Claim(
        "TRL is the tool for SFT",
        _POST,
        _NOT,
        ours="ours is written out in `sft.py` and was not compared with TRL's trainer",
    ),
    Claim(
        "preparing the data set is a part of the work",
        _POST,
        _SMALL,
        f"{_HERE}/test_exercises.py::test_every_kind_from_the_document_that_is_asked_about",
        "dialogues from `*.chat.jsonl`, and exercises made from the corpus itself; the loss counts the "
        "assistant's tokens only, the stop token included",
    ),
    Claim(
        "LoRA trains low-rank updates beside frozen matrices",
        "Hu et al. 2021, section 4.1",
        _SMALL,
        "pytest src/tuti/nn/tests/test_lora.py::test_only_the_update_trains",
        "only the adapters take gradients; they go to PEFT and back with equal logits",
    ),
    Claim(
        "LoRA reaches the quality of full fine-tuning with far fewer trained parameters",
        "Hu et al. 2021, section 5",
        _NOT,
        ours="the two methods are not compared yet",
    ),
    Claim("QLoRA: adapters on a base quantised to 4 bits", _POST, _NOT, ours="not built yet"),
    Claim(
        "Spectrum: train the layers that carry most information, freeze the others",
        _POST,
        _NOT,
        ours="not built yet",
    ),
    Claim(
        "Flash Attention and Liger kernels make it fast",
        _POST,
        _NOT,
        ours="neither is used: attention is torch's `scaled_dot_product_attention` or our own "
        "chunks, the loss never "
        "holds all logits; measured against `transformers` in `benchmarks/pretrain.py`",
    ),
    Claim(
        "DeepSpeed and Accelerate spread the training over several GPUs",
        _POST,
        _NOT,
        ours="neither is used; torch's own DDP and FSDP2 are, for pretraining: two `gloo` processes "
        "equal one "
        "(`src/tuti/train/tests/test_distributed.py`); no GPU was tried",
    ),
    Claim(
        "evaluation tells whether it helped",
        _POST,
        _SMALL,
        "pytest "
        "src/tuti/pipelines/tests/test_evaluate.py::test_a_step_that_made_it_worse_is_refused_in_words",
        "`tuti evaluate`: held-out dialogue loss, choices against chance, bits per byte, each with "
        "its interval; a "
        "step that made its own measure worse is not promoted",
    ),
    Claim(
        "the model goes to production with TGI and vLLM",
        _POST,
        _NOT,
        ours="neither was run; the folder they load is Hugging Face's, and `transformers` loads it "
        "with equal logits "
        "(`src/tuti/nn/tests/test_parity.py`); our own server is `tuti serve`",
    ),
)
