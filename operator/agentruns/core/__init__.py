"""What decides. No I/O, no clock, no randomness: everything a decision needs comes in as an argument."""

import sys
from types import ModuleType

# `import cel` brings its command line, with terminals and all: 12 MiB, here and in each process that evaluates.
sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))
