"""How the benches of diffusion end: numbers written, what was missed named."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Any


def finish(options: argparse.Namespace, results: Mapping[Any, Any], problems: Sequence[str]) -> int:
    """Write the numbers where ``--json`` says, name what was missed, and return the exit status."""
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    for words in problems:
        print("missed", words)
    return int(options.check and bool(problems))
