"""Runs the commands of the README's generated blocks and writes what they print below them.

    python -m deploy.docs.capture README.md [BLOCK NAME]...

Run it with the instance in the state that the README tells at that place; name blocks to take only some of them anew.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

from deploy.docs.blocks import Block, read_blocks, write_blocks

_COLUMNS = "110"
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def main() -> int:
    """Run the blocks; the exit code is that of the first command that failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", type=Path)
    parser.add_argument("blocks", nargs="*", help="names of blocks; all when none is given")
    arguments = parser.parse_args()
    outputs: dict[str, list[str]] = {}
    code = 0
    for block in read_blocks(arguments.file.read_text()):
        if not arguments.blocks or block.name in arguments.blocks:
            outputs[block.name], code = run_block(block)
            if code:
                break
    arguments.file.write_text(write_blocks(arguments.file.read_text(), outputs))
    return code


def run_block(block: Block) -> tuple[list[str], int]:
    """Run a block's commands; what they printed on both channels, and the first exit code that is not 0."""
    outputs: list[str] = []
    for command in block.commands:
        print(f"$ {command}", file=sys.stderr)
        done = subprocess.run(
            ["bash", "-c", f"export COLUMNS={_COLUMNS} PATH={Path(sys.executable).parent}:$PATH; {command} 2>&1"],
            capture_output=True,
            text=True,
            check=False,
        )
        outputs.append(_ANSI.sub("", done.stdout))
        if done.returncode:
            return outputs + [""] * (len(block.commands) - len(outputs)), done.returncode
    return outputs, 0


if __name__ == "__main__":
    sys.exit(main())
