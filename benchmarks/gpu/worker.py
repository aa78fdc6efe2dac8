"""Runs workloads by name and prints each one's entry as a line of JSON: a process of its own, since one bad kernel
makes a CUDA context useless. What is left is then given to the next process (`benchmarks.gpu.measuring`)."""

import argparse
import json
import sys
import time

MARK = "@@ "


def main(argv=None):
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="+")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--compile", action="store_true", help="pydiff and torch.compile only")
    options = parser.parse_args(argv)
    say(start=None)
    from . import libraries, training, workload, workloads

    if options.small and libraries.torch:
        libraries.torch.set_num_threads(1)  # nothing there is worth a second one
    say(versions=libraries.versions())
    for name in options.names:
        say(start=name)
        began = time.perf_counter()
        try:
            if name == "digits":
                entry = training.digits(options.device, options.small)
            else:
                entry = workload.run(workloads.BY_NAME[name], options.device, options.small, options.compile)
        except ArithmeticError as problem:
            entry = {"name": name, "state": "wrong", "notes": [str(problem)]}
        except Exception as problem:
            entry = {"name": name, "state": "error", "notes": [f"{type(problem).__name__}: {problem}"[:2000]]}
        entry["took"] = time.perf_counter() - began
        if entry["state"] in ("error", "wrong") and not works(options.device):
            entry["notes"].append("the device did not work any more after that; the next ones had a new process")
            say(entry=entry)
            sys.exit(3)
        say(entry=entry)
        reset()


def say(**message):
    print(MARK + json.dumps(message), flush=True)


def works(device):
    """Whether the device still computes."""
    import pydiff

    try:
        return (pydiff.ones(1000, device=device) + 1).sum().item() == 2000
    except Exception:
        return False


def reset():
    """Nothing of one workload is left for the next: memory, and what it switched."""
    import gc

    import pydiff

    from . import libraries

    gc.collect()
    pydiff.cuda.allow_tf32(False)
    pydiff._C.cuda_gemm_choice("auto")
    if libraries.torch:
        libraries.torch.set_float32_matmul_precision("highest")
    libraries.free()


if __name__ == "__main__":
    main()
