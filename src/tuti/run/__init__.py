"""The run: the directory that every stage writes, and what pins it down. Imports no torch."""

from tuti.run.card import Card as Card
from tuti.run.card import Entry as Entry
from tuti.run.directory import Run as Run
from tuti.run.directory import RunOptions as RunOptions
from tuti.run.directory import execute as execute
from tuti.run.directory import find_artifact as find_artifact
from tuti.run.directory import finished as finished
from tuti.run.directory import read_events as read_events
from tuti.run.errors import UserError as UserError
from tuti.run.errors import damaged as damaged
from tuti.run.errors import printable as printable
from tuti.run.errors import red as red
from tuti.run.files import atomic_folder as atomic_folder
from tuti.run.files import atomic_link as atomic_link
from tuti.run.files import atomic_write as atomic_write
from tuti.run.files import disk_errors as disk_errors
from tuti.run.files import hash_file as hash_file
from tuti.run.files import hash_folder as hash_folder
from tuti.run.files import hash_text as hash_text
from tuti.run.files import read_documents as read_documents
from tuti.run.files import read_json as read_json
from tuti.run.files import read_rows as read_rows
from tuti.run.lineage import config_from_json as config_from_json
from tuti.run.lineage import config_to_json as config_to_json
