"""Benchmarks c and d2: Geneformer's tokens, and its training, against Geneformer's tokenizer and the HF Trainer.

Counts are negative-binomial, 20,000 genes. c: 4,096 cells, of each the 512 highest ranks. The peer is the body of
Geneformer's tokenizer: counts scaled as a sparse matrix, then an argsort a cell; ours ranks by a compiled kernel. The
scaled values along both lists of tokens are compared: ties may be ordered otherwise. CPU seconds on one thread.

d2: real tokens a second of the paper's network in training, cells of 150 to 512 tokens, 16 a step. The peer is the
Hugging Face Trainer with length-grouped batches, in bfloat16 where this CPU multiplies it; ours is float32. Both do the
same number of steps on the same tokens, alternately; CPU seconds of the steps alone, on one
thread.
"""

import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from scipy.sparse import csr_array, diags_array
from threadpoolctl import threadpool_limits
from tokenizers import Tokenizer, models
from transformers import (
    BertForMaskedLM,
    DataCollatorForLanguageModeling,
    PreTrainedTokenizerFast,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from nsl_assets.models import Geneformer, Runtime
from nsl_assets.models.geneformer.masking import Masking
from nsl_assets.models.geneformer.network import network_config
from nsl_assets.models.geneformer.optimiser import OneDevice
from nsl_assets.models.geneformer.tokens import TokenRows, rank_tokens
from nsl_assets.models.geneformer.training import Training
from nsl_assets.models.geneformer.vocabulary import GeneTable, Vocabulary

N_CELLS, N_GENES, MAX_LENGTH = 4096, 20_000, 512
N_TRAIN_CELLS, BATCH_SIZE, N_STEPS = 256, 16, 2
ROUNDS = 3
GATES = {"c tokens": 6.0, "d2 training": 3.0}

Lists = list[npt.NDArray[Any]]


def negative_binomial_counts() -> csr_array:
    """About 1,300 of 20,000 genes and 2,500 UMIs per cell."""
    rng = np.random.default_rng(0)
    mean = rng.lognormal(0.0, 1.8, N_GENES)
    mean *= 2_500 / mean.sum()
    rate = rng.standard_gamma(0.5, (N_CELLS, N_GENES), dtype=np.float32) * (mean / 0.5)
    counts = csr_array(rng.poisson(rate).astype(np.uint32))
    counts.indices, counts.indptr = counts.indices.astype(np.int32), counts.indptr.astype(np.int32)
    return counts


def peer_tokens(counts: csr_array, table: GeneTable) -> Lists:
    """Scale by library size and median; of each cell, sort the values of its genes."""
    library = counts.sum(axis=1)
    scaled = csr_array(diags_array(10_000 / library) @ counts @ diags_array(1 / table.medians))
    cells = (slice(*scaled.indptr[i : i + 2]) for i in range(scaled.shape[0]))
    return [table.tokens[scaled.indices[cell]][np.argsort(-scaled.data[cell])][:MAX_LENGTH] for cell in cells]


def our_tokens(counts: csr_array, table: GeneTable) -> Lists:
    tokens, lengths = rank_tokens(counts, table, MAX_LENGTH)
    return np.split(tokens, np.cumsum(lengths)[:-1])


def largest_difference(counts: csr_array, table: GeneTable, ours: Lists, peer: Lists) -> float:
    """Of scaled values at the same rank, relative."""
    worst = 0.0
    for row in range(0, N_CELLS, 64):
        scaled = counts[[row]].toarray()[0] / table.medians
        first, second = (scaled[lists[row].astype(np.int64) - 2] for lists in (ours, peer))
        worst = max(worst, float(np.max(np.abs(first / second - 1))))
    return worst


def bench_tokens() -> tuple[float, GeneTable, csr_array]:
    counts = negative_binomial_counts()
    medians = np.random.default_rng(1).lognormal(0.0, 1.0, N_GENES)
    table = Vocabulary.of_genes(range(N_GENES), medians).table(range(N_GENES))
    our_tokens(counts[:2], table)  # compiled
    seconds: dict[Any, list[float]] = {peer_tokens: [], our_tokens: []}
    results: dict[Any, Lists] = {}
    with threadpool_limits(1):
        for _ in range(ROUNDS):
            for work, times in seconds.items():
                start = time.process_time()
                results[work] = work(counts, table)
                times.append(time.process_time() - start)
    peer, ours = (N_CELLS / statistics.median(times) for times in seconds.values())
    print(f"c tokens: ratio {ours / peer:.2f} (peer {peer:,.0f} cells/s, ours {ours:,.0f} cells/s)")
    difference = largest_difference(counts, table, results[our_tokens], results[peer_tokens])
    print(f"  largest difference of scaled values at the same rank: {difference:.1e}", file=sys.stderr)
    return ours / peer if difference < 1e-6 else 0.0, table, counts


class StepClock(TrainerCallback):
    """CPU seconds from the begin of the second step to the end of the last: the first one warms up."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002, D102
        if state.global_step == 1:
            self.start_s = time.process_time()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002, D102
        self.seconds = time.process_time() - getattr(self, "start_s", time.process_time())


def multiplies_bfloat16() -> bool:
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    return "avx512_bf16" in flags or "amx_bf16" in flags


def peer_training(cells: Lists, folder: Path) -> float:
    """Tokens a second of the Trainer, padding not counted."""
    words = {"<pad>": 0, "<mask>": 1} | {str(i): i for i in range(2, N_GENES + 2)}
    tokenizer = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=Tokenizer(models.WordLevel(words, unk_token="<mask>")), pad_token="<pad>", mask_token="<mask>"
    )
    collate = DataCollatorForLanguageModeling(tokenizer, mlm_probability=0.15)
    seen: list[int] = []

    def counted(examples: list[dict[str, Any]]) -> Any:
        seen.append(sum(len(example["input_ids"]) for example in examples))
        return collate(examples)

    clock = StepClock()
    settings = Geneformer()
    arguments = TrainingArguments(
        output_dir=str(folder),
        per_device_train_batch_size=BATCH_SIZE,
        max_steps=N_STEPS + 1,
        train_sampling_strategy="group_by_length",
        learning_rate=settings.learning_rate,
        weight_decay=settings.weight_decay,
        bf16=multiplies_bfloat16(),
        use_cpu=True,
        report_to=[],
        save_strategy="no",
        logging_strategy="no",
        disable_tqdm=True,
    )
    dataset: Any = [{"input_ids": cell.tolist()} for cell in cells]
    network = BertForMaskedLM(network_config(settings, N_GENES + 2))
    Trainer(network, arguments, data_collator=counted, train_dataset=dataset, callbacks=[clock]).train()
    return sum(seen[1 : N_STEPS + 1]) / clock.seconds


def our_training(cells: Lists, folder: Path) -> float:
    """Tokens a second of our loop, padding not counted."""
    starts = np.concatenate([[0], np.cumsum([cell.size for cell in cells])])
    tokens = TokenRows(np.concatenate(cells), starts, np.arange(len(cells), dtype=np.uint64))
    nothing = TokenRows(tokens.tokens[:0], starts[:1], tokens.keys[:0])
    settings = Geneformer(batch_size=BATCH_SIZE, evaluate_every_steps=N_STEPS + 1)
    network = BertForMaskedLM(network_config(settings, N_GENES + 2))
    optimiser = OneDevice(network, settings)
    masking = Masking.of(Vocabulary.of_genes(range(N_GENES), np.ones(N_GENES)), settings.mask_fraction)
    runtime = Runtime(scratch=folder)
    for n_steps in (1, N_STEPS):  # the first one warms up
        limited = settings.model_copy(update={"max_steps": n_steps})
        start = time.process_time()
        history = Training(network, masking, tokens, nothing, limited, 0, runtime, optimiser).run()
    return history.tokens / (time.process_time() - start)


def bench_training(table: GeneTable, counts: csr_array) -> float:
    lengths = np.random.default_rng(2).integers(150, MAX_LENGTH + 1, N_TRAIN_CELLS)
    ranked = our_tokens(counts[:N_TRAIN_CELLS], table)
    cells = [cell[:length] for cell, length in zip(ranked, lengths, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        speeds = [(peer_training(cells, Path(folder)), our_training(cells, Path(folder))) for _ in range(ROUNDS)]
    peer, ours = (statistics.median(pair[i] for pair in speeds) for i in (0, 1))
    print(f"d2 training: ratio {ours / peer:.2f} (peer {peer:,.0f} tokens/s, ours {ours:,.0f} tokens/s)")
    number_format = "bfloat16" if multiplies_bfloat16() else "float32, since this CPU has no bfloat16"
    print(f"  the peer computed in {number_format}", file=sys.stderr)
    return ours / peer


def main() -> int:
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    torch.set_num_threads(1)
    tokens, table, counts = bench_tokens()
    training = bench_training(table, counts)
    return 0 if tokens >= GATES["c tokens"] and training >= GATES["d2 training"] else 1


if __name__ == "__main__":
    sys.exit(main())
