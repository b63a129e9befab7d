# ruff: noqa: T201  (a command prints)
"""A stand-in for Slurm on one machine: `sbatch`, `squeue`, `sacct` and `scancel` as one small program.

Each array task really runs its script as a process, under a babysitter that notes how it ended. The state of a task is
a file `JOB_INDEX.json` in the folder STAND_IN_SLURM. What a real Slurm does to a task by itself (memory, time, a lost
node) is done by `python slurm_stand_in.py end TASK STATE`.
"""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ["STAND_IN_SLURM"])
PATIENCE_S = 3.0
NODE_MIB = 64_000
OVER = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "OUT_OF_MEMORY", "NODE_FAIL")


def read(task):
    return json.loads((FOLDER / f"{task}.json").read_text())


def write(task, **changes):
    path = FOLDER / f"{task}.json"
    content = (json.loads(path.read_text()) if path.exists() else {}) | changes
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(content))
    temporary.rename(path)


def tasks():
    return sorted(path.stem for path in FOLDER.glob("*_*.json"))


def option(arguments, name):
    return next((a.partition("=")[2] for a in arguments if a.startswith(f"--{name}=")), None)


def sbatch(arguments):
    with (FOLDER / "sbatch.log").open("a") as log:
        log.write(json.dumps(arguments) + "\n")
    if "--partition=none" in arguments:
        sys.exit("sbatch: error: invalid partition specified: none")
    if int(option(arguments, "mem").removesuffix("M")) > NODE_MIB:
        sys.exit("sbatch: error: Batch job submission failed: Requested node configuration is not available")
    assert not any(name.startswith("SLURM_ARRAY") for name in os.environ)
    job = str(1 + max([0, *(int(task.partition("_")[0]) for task in tasks())]))
    last = int(option(arguments, "array").partition("%")[0].partition("-")[2])
    for index in range(last + 1):
        task = f"{job}_{index}"
        after = option(arguments, "dependency")
        known = {"name": option(arguments, "job-name"), "after": after and after.removeprefix("afterok:")}
        write(task, state="PENDING", code=0, number=0, seconds=0, **known)
        command = [sys.executable, "-I", "-S", __file__, "babysit", task, arguments[-1]]
        subprocess.Popen(command, start_new_session=True, stdin=-3, stdout=-3, stderr=-3)
    print(job)


def babysit(arguments):
    task, script = arguments
    job, _, index = task.partition("_")
    env = {**os.environ, "SLURM_ARRAY_JOB_ID": job, "SLURM_ARRAY_TASK_ID": index, "SLURM_JOB_ID": job}
    wait_for(task)
    start = time.monotonic()
    if read(task)["state"] == "PENDING":
        text = Path(script).read_text()
        blind = FOLDER / f"blind-{task}"
        if blind.exists():  # the node sees another folder there
            text = text.replace(blind.read_text(), "/nowhere")
        process = subprocess.Popen(["/bin/sh", "-c", text], env=env, start_new_session=True)
        write(task, state="RUNNING", pid=process.pid)
        code = process.wait()
    else:
        code = 0
    killed = read(task).get("end")
    state = killed or ("COMPLETED" if code == 0 else "FAILED")
    write(task, state=state, code=max(0, code), number=max(0, -code), seconds=time.monotonic() - start)


def wait_for(task):
    """Until the array that a task depends on has ended well, or the task was cancelled."""
    after = read(task)["after"]
    while read(task)["state"] == "PENDING" and after and read(f"{after}_0")["state"] != "COMPLETED":
        time.sleep(0.02)


def squeue(arguments):
    if (FOLDER / "squeue-is-down").exists():
        sys.exit("squeue: error: Unable to contact slurm controller (connect failure)")
    for task in tasks():
        known = read(task)
        if known["name"] == option(arguments, "name") and known["state"] not in OVER:
            print(f"{task}|{known['state']}")


def sacct(arguments):
    if (FOLDER / "sacct-is-down").exists():
        sys.exit("Slurm accounting storage is disabled")
    for task in option(arguments, "jobs").split(","):
        known = read(task)
        state = known["state"] + (" by 1000" if known["state"] == "CANCELLED" else "")
        print(f"{task}|{state}|{known['code']}:{known['number']}|{int(known['seconds'])}|node1")


def scancel(arguments):
    for task in tasks():
        known = read(task)
        if known["name"] == option(arguments, "name") and known["state"] not in OVER:
            end([task, "CANCELLED"])


def end(arguments):
    """Ends a task as Slurm does: politely when cancelled or out of time, at once when out of memory or lost."""
    task, state = arguments
    write(task, end=state, **({"state": state} if read(task)["state"] == "PENDING" else {}))
    pid = read(task).get("pid")
    if pid is None:
        return
    signals = (signal.SIGTERM, signal.SIGKILL) if state in ("CANCELLED", "TIMEOUT") else (signal.SIGKILL,)
    for number in signals:
        try:
            os.killpg(pid, number)
        except ProcessLookupError:
            return
        give_up = time.monotonic() + PATIENCE_S
        while read(task)["state"] == "RUNNING" and time.monotonic() < give_up:
            time.sleep(0.02)


if __name__ == "__main__":
    command, *rest = sys.argv[1:]
    {"sbatch": sbatch, "babysit": babysit, "squeue": squeue, "sacct": sacct, "scancel": scancel, "end": end}[command](
        rest
    )
