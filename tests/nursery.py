"""A process that has everything imported and makes a child for each folder named on its input: the child carries the plan out there.

Lines in: a folder, then "wait" for the child to be over, and so on. Lines out: "ready", then the id of the child, then "gone".
Until "wait" is said a dead child stays a zombie, so its id is no one else's.
"""

import json
import os
import sys

from sparring.bench.plan import Plan


def main() -> None:
    import torch

    torch.set_num_threads(1)
    plan = Plan.of({**json.loads(sys.argv[1]), "out": "unused"})
    plan.cases()
    print("ready", flush=True)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                plan.model_copy(update={"out": line.strip()}).run()
            finally:
                os._exit(0)
        print(child, flush=True)
        sys.stdin.readline()
        os.waitpid(child, 0)
        print("gone", flush=True)


if __name__ == "__main__":
    main()
