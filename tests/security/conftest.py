import sys
from pathlib import Path

# The hostile texts and what must hold for them live with the fuzzer, which a person may run for hours.
sys.path.insert(0, str(Path(__file__).parents[2] / "scripts" / "fuzz"))
