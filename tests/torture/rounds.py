"""How long the torture takes, and by which chances: 30 rounds, 300 with URUNC_TORTURE=long, or as many as it says."""

import os

_WANTED = os.environ.get("URUNC_TORTURE", "")
ROUNDS = 300 if _WANTED == "long" else int(_WANTED or 30)
SEED = int(os.environ.get("URUNC_TORTURE_SEED", "1"))
