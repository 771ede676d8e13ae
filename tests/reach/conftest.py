"""Networks of other libraries, traced: needs PyTorch and one of them; `make test-reach` has an environment for each.

What the libraries' models import and never call here is stood in for: torchvision, whose wheels want another torch.
"""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "reference"))


def _stand_in(name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules.setdefault(name, module)


if importlib.util.find_spec("torch") and not importlib.util.find_spec("torchvision"):
    for each in ("torchvision", "torchvision.models", "torchvision.transforms", "torchvision.datasets"):
        _stand_in(each)
    for each in ("torchvision.models.utils", "torchvision._internally_replaced_utils"):
        _stand_in(each, load_state_dict_from_url=None)


def pytest_collection_modifyitems(items):
    """Let the libraries warn as they like: their warnings are none of evsim's."""
    here = Path(__file__).parent
    for item in items:
        if here in Path(item.fspath).parents:
            item.add_marker(pytest.mark.filterwarnings("ignore"))
