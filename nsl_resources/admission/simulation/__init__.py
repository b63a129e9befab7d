"""A machine with GPUs in simulated time, on which admission policies run thousands of workers with faults.

    mix = read_mix(Path("benchmarks/gpu_jobs.json"))
    outcome = Simulation(mix, draw(mix, seed=1), LedgerPolicy()).run()
    outcome.makespan_s / lower_bound_s(mix.node, outcome)

Nothing here is used by a run of a study: it is how the policy of `nsl_resources.admission` is measured and tested.
"""

from nsl_resources.admission.simulation.bound import Bounds, lower_bounds
from nsl_resources.admission.simulation.mix import Faults, Foreign, Mix, NodeSize, Worker, draw, read_mix
from nsl_resources.admission.simulation.node import SimulatedNode
from nsl_resources.admission.simulation.policies import LedgerPolicy, OneWorkerAGpu, Policy, PollAndPick
from nsl_resources.admission.simulation.run import Attempt, Outcome, Simulation

__all__ = [
    "Attempt",
    "Bounds",
    "Faults",
    "Foreign",
    "LedgerPolicy",
    "Mix",
    "NodeSize",
    "OneWorkerAGpu",
    "Outcome",
    "Policy",
    "PollAndPick",
    "SimulatedNode",
    "Simulation",
    "Worker",
    "draw",
    "lower_bounds",
    "read_mix",
]
