"""The bundled model and recordings: a Spikingformer trained on recordings of handwritten digits.

Made by tests/reference/train_demo.py and tests/reference/bundle_demo.py from scikit-learn's digits (UCI ML hand-written
digits, CC BY 4.0), played before evsim's simulated event camera.
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from evsim.errors import OptionError

MODEL = "model.h5"
SAMPLE = "dvs_sample.aedat"


def model_path() -> Path:
    """Return the path of the bundled model.

    Raises
    ------
    OptionError
        If this installation lacks it.
    """
    path = _folder() / MODEL
    if not path.exists():
        raise OptionError(f"this installation of evsim lacks its demo ({path}); install it again")
    return path


def recordings() -> dict[str, Path]:
    """Return the bundled recordings of held-out digits by their true class."""
    return {path.stem.removeprefix("digit_"): path for path in sorted(_folder().glob("digit_*.aedat"))}


def save(folder: str | Path) -> tuple[Path, Path]:
    """Write ``model.h5`` and ``dvs_sample.aedat`` into a folder, which is made if it is missing.

    Raises
    ------
    OptionError
        If they cannot be written.
    """
    from evsim.files import write_whole

    folder = Path(folder)
    model_path()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OptionError(f"cannot make {folder}: {error.strerror}; give another `folder`") from error
    except ValueError:
        raise OptionError(f"cannot make {str(folder)!r}: no folder can be named so; give another `folder`") from None
    targets = (folder / MODEL, folder / SAMPLE)
    for source, target in zip((model_path(), *list(recordings().values())[:1]), targets, strict=True):
        write_whole(target, source.read_bytes())
    return targets


def _folder() -> Path:
    return Path(str(resources.files("evsim.data")))
