"""Pretrained models to start from: by asset, by folder or run, or by name on the model hub."""

import re
from pathlib import Path

from tuti.nn import read_gguf
from tuti.run import UserError, find_artifact
from tuti.run.assets import cache_folder, fetch
from tuti.run.directory import describe
from tuti.run.files import atomic_folder
from tuti.systems.finetune.sft import write_model
from tuti.text import ChatTemplate, Tokenizer
from tuti.text.chat import template_in

FILES = ("*.json", "*.safetensors", "*.jinja")
"""All that is ever taken from a hub: no pickle, no code"""
PLAIN = Path(__file__).with_name("plain.jinja").read_text("utf-8")
"""The template of a model that came without one; its end token ends an answer"""


def base_folder(name: str | Path) -> Path:
    """The LanguageModel folder of a base: "smollm2", a path (folder or run), or "org/name".

    What had to be fetched or converted is kept in the cache.
    """
    if str(name) == "smollm2":
        return _from_gguf("smollm2")
    path = Path(name).expanduser()
    if path.exists():
        return find_artifact(path, "LanguageModel")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", str(name)):
        return _from_hub(str(name))
    what = f"no base model {str(name)!r}"
    hint = "smollm2, a folder with config.json and model.safetensors, a run, or org/name on the hub"
    raise UserError(what, hint)


def _from_gguf(asset: str) -> Path:
    """The asset's GGUF file as a Hugging Face folder in fp32, dequantised once."""
    [source] = sorted(fetch(asset).glob("*.gguf"))
    target = cache_folder() / f"{source.stem}-fp32"
    if (target / "tuti.json").exists():
        return find_artifact(target, "LanguageModel")
    model, fields = read_gguf(source)
    template = ChatTemplate(Tokenizer.from_gguf(fields), fields["tokenizer.chat_template"])
    with atomic_folder(target) as folder:
        write_model(model, template, folder)
        describe(folder, "LanguageModel", chat=True, template=template.hash, source=source.name)
    return target


def _from_hub(name: str) -> Path:
    """A snapshot of a hub's model: safetensors and JSON only."""
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    try:
        folder = huggingface_hub.snapshot_download(name, allow_patterns=list(FILES))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        first = str(error).strip().splitlines()[0][:200] if str(error).strip() else "no answer"
        raise UserError(
            f"could not fetch {name} from the model hub: {first}",
            hint="is there a network, and does the name exist? --base smollm2 comes as a package, "
            "--base FOLDER takes a model that is here",
        ) from error
    return _with_template(Path(folder), name)


def _with_template(folder: Path, name: str) -> Path:
    """The folder itself, or beside it (by links) one with the plain template that it lacks."""
    if template_in(folder) is not None:
        return folder
    target = cache_folder() / f"hub-{name.replace('/', '--')}"
    with atomic_folder(target) as linked:
        for file in sorted(folder.iterdir()):
            (linked / file.name).symlink_to(file.resolve())
        (linked / "chat_template.jinja").write_text(PLAIN, "utf-8")
    return target
