import json
from pathlib import Path

import numpy as np
import pytest

from tuti.data import read_tokens
from tuti.run import Run, RunOptions, UserError, read_documents
from tuti.run.files import hash_folder
from tuti.systems.spark.pack import Pack, pack
from tuti.systems.spark.tests.corpus import run_of, write_corpus
from tuti.text import ChatTemplate, Tokenizer


@pytest.fixture(scope="module")
def prepared(tmp_path_factory) -> tuple[Run, Path]:
    folder = tmp_path_factory.mktemp("pack")
    run = run_of(folder / "prepare", write_corpus(folder / "in"))
    counts = (run.folder / "artifacts" / "words" / "counts.jsonl").read_text().splitlines()
    tokenizer = Tokenizer.train(dict(map(json.loads, counts)), 400)
    maker = Run(folder / "tokenizer", RunOptions())
    with maker.save("tokenizer", "Tokenizer") as target:
        tokenizer.save(target)
        ChatTemplate.default(tokenizer).save(target)
    return run, maker.folder


def packed(out: Path, prepared: tuple[Run, Path], **fields) -> Path:
    config = Pack(prepared[0].folder, prepared[1], **fields)
    pack(config, Run.create("spark", "pack", config, RunOptions(out=out)))
    return out / "artifacts" / "tokens"


def test_every_document_is_there_with_its_bytes_and_script(tmp_path, prepared):
    folder = packed(tmp_path / "a", prepared)
    tokenizer = Tokenizer.load(prepared[1] / "artifacts" / "tokenizer")
    for split in ("train", "valid"):
        tokens = read_tokens(folder, split)
        documents = list(read_documents(prepared[0].folder / "artifacts" / "documents", split))
        assert len(tokens) == len(documents) > 0
        for number, row in enumerate(documents):
            ids = tokens.document(number).tolist()
            assert ids[0] == tokenizer.end and tokenizer.decode(ids[1:]) == row["text"]
            assert tokens.bytes[number] == len(row["text"].encode())
            assert tokens.names[tokens.groups[number]] == row["script"]
    assert read_tokens(folder, "train").vocab == tokenizer.vocab_size
    assert read_tokens(folder, "train").ids.dtype == np.dtype("<u2")


def test_the_batch_changes_nothing_and_a_second_call_neither(tmp_path, prepared):
    first = packed(tmp_path / "a", prepared)
    assert hash_folder(packed(tmp_path / "b", prepared, batch=3)) == hash_folder(first)
    before = hash_folder(first)
    pack(Pack(prepared[0].folder, prepared[1]), Run(tmp_path / "a", RunOptions(resume=True)))
    assert hash_folder(first) == before


def test_a_plain_tokenizer_folder_will_do(tmp_path, prepared):
    (tmp_path / "plain").mkdir()
    for file in (prepared[1] / "artifacts" / "tokenizer").iterdir():
        if file.name != "tuti.json":
            (tmp_path / "plain" / file.name).write_bytes(file.read_bytes())
    first = packed(tmp_path / "a", prepared)
    second = packed(tmp_path / "b", (prepared[0], tmp_path / "plain"))
    assert hash_folder(first) == hash_folder(second)


def test_the_wrong_run_is_named(tmp_path, prepared):
    with pytest.raises(UserError, match="wanted: Tokenizer"):
        packed(tmp_path / "a", (prepared[0], prepared[0].folder))
    with pytest.raises(UserError, match="wanted: Documents"):
        packed(tmp_path / "b", (Run(prepared[1], RunOptions()), prepared[1]))


def test_truncated_documents_are_refused(tmp_path, prepared):
    import shutil

    shutil.copytree(prepared[0].folder, tmp_path / "copy")
    path = tmp_path / "copy" / "artifacts" / "documents" / "train-00.jsonl"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="truncated"):
        packed(tmp_path / "a", (Run(tmp_path / "copy", RunOptions()), prepared[1]))
