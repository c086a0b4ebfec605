"""The run: the directory that every stage writes, and what pins it down. Imports no torch."""

from tuti.run.card import Card, Entry
from tuti.run.directory import Chain, Run, RunOptions, execute, find_artifact, finished, read_events
from tuti.run.errors import UserError, damaged, printable, red
from tuti.run.files import atomic_write, hash_text, read_documents, read_json, read_rows, read_toml
from tuti.run.lineage import config_from_json, config_to_json

__all__ = [
    "Card", "Chain", "Entry", "Run", "RunOptions", "UserError", "atomic_write", "config_from_json",
    "config_to_json", "damaged", "execute", "find_artifact", "finished", "hash_text", "printable",
    "read_documents", "read_events", "read_json", "read_rows", "read_toml", "red",
]
