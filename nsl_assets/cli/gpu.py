"""`nsl gpu`: what workers hold of this machine, who waits for what, and what the next ones are expected to need."""

import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from nsl_assets.cli.output import show, show_json, table
from nsl_assets.progress import duration
from nsl_assets.study import load_project, storage_root
from nsl_resources.gpu import GPU, HOST, Ledger, PeakRecord, PeakRecords, Room, Snapshot, Waiting, node_probe

REDRAW_EVERY_S: Final = 1.0
_HOME_AND_CLEAR: Final = "\x1b[H\x1b[J"
_RULE: Final = "-" * 40
_EMPTY: Final = {
    "leases": "none: no worker runs",
    "queue": "empty: a run puts workers in line when it can start more than run already",
}


def show_gpu(*, is_watching: bool, as_json: bool) -> None:
    """Print the state of this machine once, or every second until Ctrl-C."""
    machine = load_project().machine
    ledger = Ledger(node_probe(machine.memory_mib, machine.cores, machine.device == "auto"))
    records = PeakRecords(storage_root())
    if as_json:
        show_json(_state(ledger.snapshot(), records.all()))
    elif not is_watching:
        show(state_text(_state(ledger.snapshot(), records.all())))
    else:
        _watch(ledger, records)


def _watch(ledger: Ledger, records: PeakRecords) -> None:
    """Redraws in place on a terminal; in a pipe, block after block."""
    is_terminal = sys.stdout.isatty()
    try:
        while True:
            text = state_text(_state(ledger.snapshot(), records.all()))
            show(f"{_HOME_AND_CLEAR}{text}" if is_terminal else f"{text}\n{_RULE}")
            sys.stdout.flush()
            time.sleep(REDRAW_EVERY_S)
    except (KeyboardInterrupt, BrokenPipeError):
        return


def _state(now: Snapshot, records: list[PeakRecord]) -> dict[str, Any]:
    """The snapshot as JSON values."""
    return {
        "devices": [_device(room, now) for room in now.rooms],
        "leases": [
            {
                "label": lease.label,
                "pid": lease.pid,
                "memory_mib": lease.need.memory_mib,
                "cores": lease.need.cores,
                "used_mib": now.used_by_mib(lease, HOST),
                "gpu_memory_mib": lease.need.gpu_memory_mib,
                "gpu_used_mib": now.used_by_mib(lease, GPU),
                "gpus": list(lease.gpus),
                "age_s": now.now_s - lease.since_s,
            }
            for lease in now.leases
        ],
        "queue": [_waiting(rank, waiting) for rank, waiting in enumerate(now.queue, start=1)],
        "predictions": list(_predictions(records)),
    }


def _device(room: Room, now: Snapshot) -> dict[str, Any]:
    device = room.device
    return {
        "kind": device.kind,
        "id": device.id,
        "total_mib": device.total_mib,
        "budget_mib": device.budget_mib,
        "used_mib": now.used_mib(room),
        "foreign_mib": room.foreign_mib,
        "leased_mib": now.leased_mib(room),
        "free_mib": max(0, room.free_mib),
        "cores": device.cores,
        "free_cores": max(0, room.free_cores),
    }


def _waiting(rank: int, waiting: Waiting) -> dict[str, Any]:
    need = waiting.request.need
    return {
        "rank": rank,
        "label": waiting.request.label,
        "memory_mib": need.memory_mib,
        "cores": need.cores,
        "n_gpus": need.n_gpus,
        "gpu_memory_mib": need.gpu_memory_mib,
        "waited_s": waiting.waited_s,
        "is_head": waiting.request.blocked_since_s is not None,
        "lacks": list(waiting.lacks),
    }


def _predictions(records: list[PeakRecord]) -> Iterator[dict[str, Any]]:
    for record in records:
        last = record.host[-1]
        on_gpu = record.gpu[-1] if record.gpu else None
        yield {
            "model": record.kind.model,
            "n_genes": record.kind.n_genes,
            "batch_size": record.kind.batch_size,
            "device": record.kind.device,
            "n_cells": record.n_cells,
            "n_workers": len(record.host),
            "formula_mib": last.formula_mib,
            "predicted_mib": record.host_mib,
            "gpu_formula_mib": None if on_gpu is None else on_gpu.formula_mib,
            "gpu_predicted_mib": record.gpu_mib,
        }


def state_text(state: dict[str, Any]) -> str:
    """The tables that people see."""
    parts = [
        ("devices", [_device_row(device) for device in state["devices"]]),
        ("leases", [_lease_row(lease) for lease in state["leases"]]),
        ("queue", [_queue_row(waiting) for waiting in state["queue"]]),
        ("predictions", [_prediction_row(prediction) for prediction in state["predictions"]]),
    ]
    has_gpus = any(device["kind"] == GPU for device in state["devices"])
    blocks = [f"{title}\n{_block(title, rows, has_gpus)}" for title, rows in parts if rows or title in _EMPTY]
    if not has_gpus:
        blocks.insert(1, "No GPU is visible here: memory and cores of the host are what workers share.")
    return "\n\n".join(blocks)


def _block(title: str, rows: list[dict[str, Any]], has_gpus: bool) -> str:
    """A table, without the columns of GPUs where there are none."""
    if not rows:
        return _EMPTY[title]
    return table([{name: value for name, value in row.items() if has_gpus or "GPU" not in name} for row in rows])


def _device_row(device: dict[str, Any]) -> dict[str, Any]:
    cores = f"{device['cores'] - device['free_cores']} of {device['cores']}" if device["cores"] else ""
    return {
        "device": device["id"],
        "total MiB": device["total_mib"],
        "budget MiB": device["budget_mib"],
        "used MiB": device["used_mib"],
        "by others MiB": device["foreign_mib"],
        "leased MiB": device["leased_mib"],
        "free MiB": device["free_mib"],
        "cores leased": cores,
    }


def _lease_row(lease: dict[str, Any]) -> dict[str, Any]:
    return {
        "worker": lease["label"],
        "pid": lease["pid"],
        "leased MiB": lease["memory_mib"],
        "used MiB": lease["used_mib"],
        "cores": lease["cores"],
        "GPU leased MiB": lease["gpu_memory_mib"] or None,
        "GPU used MiB": lease["gpu_used_mib"],
        "GPUs": ", ".join(lease["gpus"]),
        "age": duration(lease["age_s"]),
    }


def _queue_row(waiting: dict[str, Any]) -> dict[str, Any]:
    return {
        "rank": waiting["rank"],
        "worker": waiting["label"],
        "host MiB": waiting["memory_mib"],
        "cores": waiting["cores"],
        "GPUs": waiting["n_gpus"],
        "GPU MiB": waiting["gpu_memory_mib"] or None,
        "waited": duration(waiting["waited_s"]),
        "lacks": "; ".join(waiting["lacks"]) or "nothing: kept for who is before it, or about to start",
    }


def _prediction_row(prediction: dict[str, Any]) -> dict[str, Any]:
    return {
        "model": prediction["model"],
        "genes": prediction["n_genes"],
        "batch": prediction["batch_size"],
        "on": prediction["device"],
        "cells": prediction["n_cells"],
        "workers": prediction["n_workers"],
        "by formula MiB": round(prediction["formula_mib"]),
        "next will lease MiB": prediction["predicted_mib"],
        "GPU by formula MiB": None if prediction["gpu_formula_mib"] is None else round(prediction["gpu_formula_mib"]),
        "GPU next will lease MiB": prediction["gpu_predicted_mib"],
    }
