"""What policies would read from disk, on routing with the published statistics.

    python -m benchmarks.scheduler          (make bench)

Prints what `zipmoe simulate` prints, for all sixteen layers of OLMoE-1B-7B, and writes results/scheduler.json: bytes
read a token by the policy that serves, over those of LRU on BF16 slots, of LRU with the same slots, and of Belady, by
budget in percent of all experts in BF16. Then, what decoding reads while prompts are admitted over what it reads
undisturbed, the worst of the budgets. These are counts, so the machine and its load do not matter.
"""

import json
from datetime import date
from pathlib import Path

from zipmoe.simulate.admission import admit
from zipmoe.simulate.contest import BELADY, RAW, Result, contest
from zipmoe.simulate.shape import shape
from zipmoe.simulate.synthetic import synthetic

RESULT = Path(__file__).parent / "results" / "scheduler.json"
LIKE, LAYERS, REQUESTS, TOKENS, BITS, SEED = "olmoe-1b-7b", 16, 6, 100, 11.2, 0
BUDGETS = (25, 40, 60, 80)
PROMPT, ADMISSION_LAYERS = 1000, 4


def main() -> None:
    like = shape(LIKE)
    routing = synthetic(like, LAYERS, REQUESTS, TOKENS, SEED)
    found = dict[int, dict[str, Result]]()
    print("memory  policy        resident    hits  MiB a token  of raw LRU's")
    for budget in BUDGETS:
        found[budget] = {}
        for result in contest(routing, like.weights, budget / 100, BITS):
            found[budget][result.policy] = result
            shares = f"{result.resident:8.0%}  {result.found.hit_rate:6.1%}"
            print(
                f"{budget:5}%  {result.policy:12}  {shares}  {result.bytes / 2**20:11.1f}  {result.raw:12.3f}",
                flush=True,
            )

    def over(policy: str) -> dict[str, float]:
        return {str(budget): round(_ratio(of["affinity"].bytes, of[policy].bytes), 3) for budget, of in found.items()}

    degradation = 0.0
    short = synthetic(like, ADMISSION_LAYERS, 4, TOKENS, SEED)
    prompt = synthetic(like, ADMISSION_LAYERS, 1, PROMPT, SEED + 1)
    for budget in BUDGETS:
        total = ADMISSION_LAYERS * like.experts
        slots = min(total, int(budget / 100 * total * 16 / BITS))
        admitted = admit(short, prompt, slots, every=TOKENS // 2)
        degradation = max(degradation, admitted.degradation)
        print(f"{budget:5}%  a prompt of {PROMPT} tokens: decoding reads {admitted.degradation:.2f} times as much")

    known = json.loads(RESULT.read_text()) if RESULT.exists() else {}
    figures = {
        "bytes_vs_raw_lru": over(RAW),
        "bytes_vs_same_state_lru": over("lru"),
        "bytes_vs_belady": over(BELADY),
        "prefill_degradation": round(degradation, 3),
    }
    head = {"command": "python -m benchmarks.scheduler", "date": str(date.today())}
    RESULT.write_text(json.dumps(known | head | figures, indent=2) + "\n")


def _ratio(ours: float, theirs: float) -> float:
    return ours / theirs if theirs else 1.0  # neither reads anything


if __name__ == "__main__":
    main()
