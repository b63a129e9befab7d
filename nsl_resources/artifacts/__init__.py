"""The layout of storage/: finished artifacts under their content hash, written whole or not at all.

    storage/artifacts/<kind>/<hash>/manifest.json    identity, files with sizes and digests, library versions
    storage/artifacts/<kind>/<hash>/...              the files themselves

    storage/artifacts/damaged/...                    artifacts that were found damaged, with a note of what was wrong

A folder with a manifest is finished and never changes. Folders named ``.creating-*``, ``.discarded-*`` or ``.using-*``
belong to a process at work; those of dead processes are removed by `Artifacts.sweep_temporary`.
"""

from nsl_resources.artifacts.atomic import atomic_write_bytes, atomic_write_text
from nsl_resources.artifacts.hashing import Json, content_hash
from nsl_resources.artifacts.manifest import BadFile
from nsl_resources.artifacts.space import as_mib, free_bytes
from nsl_resources.artifacts.store import KINDS, Artifacts, DiskUsage, Kind, SetAside, folder_bytes

__all__ = [
    "KINDS",
    "Artifacts",
    "BadFile",
    "DiskUsage",
    "Json",
    "Kind",
    "SetAside",
    "as_mib",
    "atomic_write_bytes",
    "atomic_write_text",
    "content_hash",
    "folder_bytes",
    "free_bytes",
]
