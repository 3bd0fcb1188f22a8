"""`python -m sparring_check PROOF [--network NET.onnx]` checks a proof file. Exit code 0: verified, 1: rejected, 2: it cannot be read."""

import argparse
import sys

from sparring_check import check

if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        prog="python -m sparring_check", description="Check a proof file. Exit code 0: verified, 1: rejected, 2: it cannot be read."
    )
    parser.add_argument("proof", help="a file that spar certify --proof wrote")
    parser.add_argument("--network", help="the ONNX file that it is about")
    asked = parser.parse_args()
    sys.exit(check(asked.proof, asked.network))
