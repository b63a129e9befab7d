"""The dispatcher's side of the Dagster Pipes protocol, without Dagster.

A worker calls `dagster_pipes.open_dagster_pipes()`. From two environment variables (JSON, zlib, base64) it learns
where its payload (`context.extras`) is, and the file into which it writes one JSON message a line.
"""

import base64
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Log:
    """A line of the worker's log (`context.log`), or a remark about the worker by its dispatcher."""

    level: str
    text: str


@dataclass(frozen=True)
class Report:
    """A worker's own message (`context.report_custom_message`): any JSON value."""

    payload: Any


@dataclass(frozen=True)
class Failure:
    """The exception that ended the worker: its class, its message, and the traceback as text."""

    error: str
    text: str
    traceback: str


Message = Log | Report | Failure


def pipes_environment(folder: Path, label: str, payload: Mapping[str, Any]) -> dict[str, str]:
    """Writes the worker's context into `folder` and returns the variables that lead it there."""
    context = {
        "asset_keys": None,
        "code_version_by_asset_key": None,
        "provenance_by_asset_key": None,
        "partition_key": None,
        "partition_key_range": None,
        "partition_time_window": None,
        "run_id": label,
        "job_name": None,
        "retry_number": 0,
        "extras": payload,
    }
    (folder / "context.json").write_text(json.dumps(context), encoding="utf-8")
    return {
        "DAGSTER_PIPES_CONTEXT": _encode({"path": str(folder / "context.json")}),
        "DAGSTER_PIPES_MESSAGES": _encode({"path": str(folder / "messages.jsonl")}),
    }


def _encode(parameters: Mapping[str, str]) -> str:
    return base64.b64encode(zlib.compress(json.dumps(parameters).encode())).decode()


class MessageFile:
    """Follows the file into which a worker writes its messages."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "messages.jsonl"
        self._path.touch()
        self._offset = 0

    def read(self) -> Iterator[Message]:
        """The messages that were completed since the last call; a line still being written waits."""
        if self._path.stat().st_size == self._offset:
            return
        with self._path.open("rb") as file:
            file.seek(self._offset)
            complete, newline, _ = file.read().rpartition(b"\n")
        self._offset += len(complete + newline)
        for line in complete.splitlines():
            message = parse(line)
            if message is not None:
                yield message


def as_line(message: Message) -> str:
    """A message as Dagster Pipes writes it; `parse` reads it."""
    parameters: dict[str, Any]
    match message:
        case Log(level, text):
            method, parameters = "log", {"level": level, "message": text}
        case Report(payload):
            method, parameters = "report_custom_message", {"payload": payload}
        case Failure(error, text, traceback):
            stack = [traceback.removesuffix(text)]
            method, parameters = "closed", {"exception": {"name": error, "message": text, "stack": stack}}
    return json.dumps({"__dagster_pipes_version": "0.1", "method": method, "params": parameters})


def parse(line: bytes) -> Message | None:
    """One message; None for those that only open and close the channel."""
    try:
        content = json.loads(line)
        return _meaning(content["method"], content["params"] or {})
    except (ValueError, KeyError, TypeError):
        return Log("WARNING", f"not a Dagster Pipes message: {line[:200]!r}")


def _meaning(method: str, parameters: Mapping[str, Any]) -> Message | None:
    match method:
        case "opened":
            return None
        case "closed":
            return _failure(parameters.get("exception"))
        case "log":
            return Log(parameters["level"], parameters["message"])
        case "report_custom_message":
            return Report(parameters["payload"])
    return Log("WARNING", f"a message of kind {method!r} has no meaning here and was dropped")


def _failure(exception: Mapping[str, Any] | None) -> Failure | None:
    if exception is None:
        return None
    text = str(exception["message"]).strip()
    return Failure(str(exception["name"]), text, "".join(exception["stack"]) + text)
