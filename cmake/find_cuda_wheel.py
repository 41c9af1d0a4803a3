"""Prints the folder of the CUDA toolkit that cuda-toolkit's wheels brought, or nothing."""

import importlib.util
from pathlib import Path

spec = importlib.util.find_spec("nvidia")
folders = list(spec.submodule_search_locations or []) if spec else []
roots = [Path(folder, "cu13") for folder in folders]
print(next((root.as_posix() for root in roots if (root / "bin" / "nvcc").is_file()), ""))
