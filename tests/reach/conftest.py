"""What the libraries' models import beside PyTorch, and never call here: torchvision, whose wheels want another torch."""

import sys
import types


def _stand_in(name, **members):
    module = types.ModuleType(name)
    module.__dict__.update(members)
    sys.modules.setdefault(name, module)


try:
    import torchvision  # noqa: F401 - whether it is there
except ImportError:
    for each in ("torchvision", "torchvision.models", "torchvision.transforms", "torchvision.datasets"):
        _stand_in(each)
    for each in ("torchvision.models.utils", "torchvision._internally_replaced_utils"):
        _stand_in(each, load_state_dict_from_url=None)
