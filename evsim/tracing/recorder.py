"""Runs a model on the example and writes down what each operation does to where values came from."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

from evsim.tracing.call import Call, name_of, tensors
from evsim.tracing.coordinates import CONSTANT, LOST, STATIC, ZERO, Codes, encode, renamed
from evsim.tracing.drafts import Draft, Drafts, Size, Spot
from evsim.tracing.errors import Fault
from evsim.tracing.neurons import Equation, recognise, unwrapped
from evsim.tracing.reading import LostError, Refusal, rows, stepped
from evsim.tracing.recurrence import closing, weighted

TORCH = str(Path(torch.__file__).parent)
OWN = str(Path(__file__).parent)
LIBRARIES = tuple(f"{name}/" for name in ("spikingjelly", "snntorch", "norse", "sinabs", "timm"))

OF_A_MODULE = frozenset(
    [
        "conv",
        "linear",
        "attention",
        "max_pool",
        "average_pool",
        "sum_pool",
        "adaptive_pool",
        "token_mean",
        "time_mean",
        "vote",
        "head_sum",
    ]
)
"""Kinds of drafts that a module without parts stands for."""


ROUNDED = (torch.float32, torch.float16, torch.bfloat16)
"""Types of number that a model may ask for and does not get: it runs in float64."""


class Recorder(TorchFunctionMode):
    """Follows values through the operations of a model.

    Attributes
    ----------
    drafts
        The graph so far.
    faults
        What could not be mapped.
    spikes
        Number of a draft of neurons to timestep to what PyTorch's module emitted, in the order of the map.
    at_once
        Modules of a single step that were given several timesteps at once.
    steps
        T, as soon as anything tells it.
    single_calls
        How often neurons of one timestep were called, the same ones.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.drafts = Drafts()
        self.faults: list[Fault] = []
        self.spikes: dict[int, dict[int, NDArray[np.generic]]] = {}
        self.calls: dict[int, int] = {}
        self.at_once: list[str] = []
        self.muted = 0
        self.single_calls = 0
        self.steps: int | None = None
        self._codes = WeakTensorKeyDictionary()
        self._paths = {id(module): path for path, module in model.named_modules(remove_duplicate=True)}
        self._stack: list[str] = []
        self._leaf = False

    # -- codes ---------------------------------------------------------------------------------------------------

    def follow(self, tensor: torch.Tensor, codes: torch.Tensor | Codes) -> None:
        """Remember where the values of a tensor came from."""
        self._codes[tensor] = (
            codes if isinstance(codes, torch.Tensor) else torch.from_numpy(np.ascontiguousarray(codes))
        )

    def codes(self, tensor: torch.Tensor) -> torch.Tensor | None:
        """Return the codes of a tensor, None where it is not followed."""
        codes: torch.Tensor | None = self._codes.get(tensor)
        return codes

    def known(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return the codes of a tensor; those of a constant say that it is one."""
        codes = self.codes(tensor)
        if codes is not None:
            return codes
        zeros = tensor.numel() > 0 and tensor.dtype != torch.bool and not bool(tensor.detach().count_nonzero())
        return torch.full(tensor.shape, ZERO if zeros else CONSTANT, dtype=torch.int64)

    def array(self, tensor: torch.Tensor) -> Codes:
        """Return the codes of a followed tensor as NumPy's."""
        codes = self.codes(tensor)
        assert codes is not None
        array: Codes = codes.numpy()
        return array

    def expect_steps(self, steps: int) -> None:
        """Take note of T, and refuse another."""
        if self.steps is None:
            self.steps = steps
        if self.steps != steps:
            raise Refusal(f"it takes {steps} timesteps, but there are {self.steps}")

    def total(self, example: Any) -> int:
        """Return T: what the example, an operation or the neurons tell."""
        told = self.steps or example.timesteps or max(self.calls.values(), default=1)
        return int(told)

    # -- the graph -----------------------------------------------------------------------------------------------

    def enter(
        self,
        kind: str,
        sources: Sequence[int],
        size: Size,
        times: Codes | Sequence[int],
        *,
        suffix: str = "",
        name: str = "",
        key: Any = (),
        facts: Mapping[str, Any] | None = None,
        arrays: Mapping[str, NDArray[np.floating]] | None = None,
    ) -> Draft:
        """Enter a draft under the name of the module that runs, or of the module and `suffix`; see `Drafts.enter`.

        What a module without parts does is named as it; a function that a module calls gets a suffix.
        """
        path = self.path
        plain = path and (not suffix or (self._leaf and kind in OF_A_MODULE and suffix != "input"))
        name = name or (path if plain else f"{path}.{suffix}" if path and suffix else suffix or kind)
        steps = [int(t) for t in times]
        if len(set(steps)) < len(steps) and set(steps) != {STATIC}:
            steps = sorted(set(steps))
        return self.drafts.enter(kind, name, sources, size, steps, self.spot(), key=key, facts=facts, arrays=arrays)

    @property
    def path(self) -> str:
        """Path of the module that runs."""
        return self._stack[-1] if self._stack else ""

    def spot(self) -> Spot:
        """Return where the model stands: the module, and the line that calls."""
        innermost = ""
        frame = sys._getframe(1)  # noqa: SLF001 - there is no other way to a caller's line
        while frame is not None:
            name, line = frame.f_code.co_filename, frame.f_lineno
            if name.startswith(OWN):
                if frame.f_code.co_name == "recorded":
                    break
            elif not name.startswith(TORCH):
                here = f"{Path(name).name}:{line}"
                if not any(library in name for library in LIBRARIES) or "/model" in name:
                    return Spot(self.path, here)
                innermost = innermost or here
            frame = frame.f_back  # type: ignore[assignment]
        return Spot(self.path, innermost or "torch.nn")

    def fault(self, reason: str) -> None:
        """Enter what cannot be mapped; the same once, however often it runs."""
        fault = Fault(self.spot(), reason)
        if fault not in self.faults:
            self.faults.append(fault)

    # -- running -------------------------------------------------------------------------------------------------

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        from evsim.tracing.operations import OPERATIONS

        kwargs = dict(kwargs or {})
        if kwargs.get("dtype") in ROUNDED:  # what is written into it would be rounded
            kwargs["dtype"] = torch.float64
        operands = list(tensors((args, kwargs)))
        if not any(tensor in self._codes for tensor in operands):
            return func(*args, **kwargs)
        call = Call(name_of(func), func, tuple(args), dict(kwargs))
        handler = OPERATIONS.get(call.name)
        try:
            if handler is not None:
                return handler(self, call)
            result = call.run()
            if any(True for _ in tensors(result)):
                lost = any(bool((self.known(t) == LOST).any()) for t in operands)
                raise LostError if lost else Refusal(f"{call.name} is no operation that evsim has a primitive for")
        except Refusal as refusal:
            self.fault(str(refusal))
            result = call.run()
        except LostError:
            result = call.run()
        self.lose(result)
        return result

    def lose(self, result: Any) -> None:
        """Mark what an operation gave as not understood."""
        for tensor in tensors(result):
            self.follow(tensor, np.full(tuple(tensor.shape), LOST))

    def call_module(self, module: torch.nn.Module, original: Callable[..., Any], args: Any, kwargs: Any) -> Any:
        """Run a module: neurons as a whole, all others by what they do."""
        inner = unwrapped(module)
        if inner is not module:
            return inner(*args, **kwargs)
        self._stack.append(self._paths.get(id(module), self.path or type(module).__name__))
        leaf, self._leaf = self._leaf, not any(True for _ in module.children())
        try:
            followed = any(tensor in self._codes for tensor in tensors((args, kwargs)))
            neuron = recognise(module)
            if neuron is None:
                return original(module, *args, **kwargs)
            if not followed:
                self.fault(
                    "it reads nothing of the example: a delay or a state that the code keeps itself, or values of a "
                    "function that cannot be seen, such as a compiled one or an autograd.Function"
                )
            with torch._C.DisableTorchFunction():  # noqa: SLF001 - public under no other name for modes
                return self._neurons(module, neuron, original, args, kwargs)
        finally:
            self._stack.pop()
            self._leaf = leaf

    def _neurons(self, module: Any, neuron: Equation | str, original: Any, args: Any, kwargs: Any) -> Any:
        if isinstance(neuron, str):  # told before it runs: in float64 it may not
            self.fault(neuron)
        result = _silently(self, original, module, args, kwargs)
        result = _mapped(result)
        spikes = next(tensors(result))
        try:
            if isinstance(neuron, str):
                raise LostError  # noqa: TRY301
            operands = [t for t in tensors((args, kwargs)) if t in self._codes]
            if not operands:
                raise LostError  # noqa: TRY301 - told before
            x = operands[0]
            self._check_state(module, neuron, operands[1:])
            self._fire(module, neuron, x, spikes)
            self._membranes(module, neuron, result, spikes)
        except Refusal as refusal:
            self.fault(str(refusal))
            self.lose(result)
        except LostError:
            self.lose(result)
        return result

    def _fire(self, module: Any, neuron: Equation, x: torch.Tensor, spikes: torch.Tensor) -> None:
        """Enter a call of neurons: one timestep, or all."""
        codes = self.array(x)
        view, steps, moved = neuron.rows(tuple(x.shape))
        arranged = codes.transpose(moved).reshape(steps, -1)
        if neuron.weights is not None:
            arranged, view = weighted(self, neuron.weights, arranged), neuron.rows(tuple(spikes.shape))[0]
        already = self.calls.get(id(module), 0)
        try:
            draft, times, places = rows(self, arranged)
        except Refusal:
            if not neuron.several and steps == 1 and _several(arranged):
                self.at_once.append(self.path)
            raise
        times = stepped(times) if steps > 1 else times
        wanted = np.arange(already, already + steps)
        times = np.where(times == STATIC, wanted, times)
        if not (times == wanted).all():
            raise Refusal(f"its call {already} reads timestep {int(times[0])}: a delay or a skipped timestep")
        self.calls[id(module)] = already + steps
        loop = None
        if neuron.recurrence is not None:
            draft, loop = closing(self, neuron.recurrence, draft, times, places, view, id(module))
        facts = {"neuron": neuron, "view": view, "order": _order(places[0], draft)}
        facts |= {"places": places[0], "module": id(module)}
        self.single_calls += not neuron.several and already + steps > self.single_calls
        fired = self.enter("neuron", [draft.number], draft.size, times, key=id(module), facts=facts, suffix="")
        if loop is not None:
            loop.sources = (fired.number,)
        arranged = encode(fired.number, times[:, np.newaxis], places)
        shape = tuple(spikes.shape) if neuron.weights is not None else tuple(x.shape)
        back = arranged.reshape([shape[axis] for axis in moved]).transpose(np.argsort(moved))
        self.follow(spikes, back.reshape(tuple(spikes.shape)))
        values = spikes.detach().numpy().reshape(shape).transpose(moved).reshape(steps, -1)
        kept = self.spikes.setdefault(fired.number, {})
        for row, time in enumerate(times):
            mapped = np.zeros(draft.values, np.float64)
            mapped[places[row]] = values[row]
            kept[int(time)] = _packed(mapped)

    def _membranes(self, module: Any, neuron: Equation, result: Any, spikes: torch.Tensor) -> None:
        """Follow the potentials that neurons return beside their spikes."""
        place = sum(1 for _ in tensors(result)) + neuron.potential
        for number, tensor in enumerate(tensors(result)):
            if tensor is spikes or tensor in self._codes:
                continue
            if tensor.shape != spikes.shape:
                self.follow(tensor, np.full(tuple(tensor.shape), LOST))
                continue
            codes = self.array(spikes)
            source = int(codes.reshape(-1)[0] >> 48)
            draft = self.drafts[source]
            time = int(((codes.reshape(-1)[0] >> 31) & 0x1FFFF) - 2)
            state = self.enter(
                "state", [*draft.sources, source], draft.size, [time], key=(id(module), number),
                suffix=f"state{number}", facts={"potential": number == place, "module": id(module)},
            )  # fmt: skip
            self.follow(tensor, renamed(codes, state.number))

    def _check_state(self, module: Any, neuron: Equation, states: Sequence[torch.Tensor]) -> None:
        """Refuse states that neurons are given and that are not their own of the timestep before."""
        already = self.calls.get(id(module), 0)
        if neuron.given and already and not states:
            raise Refusal("it starts anew at every call, for it is not given the state that it returned")
        for state in states:
            codes = self.array(state)
            if (codes == LOST).all():
                continue  # a state of another shape, such as a number of calls
            number = int(codes.reshape(-1)[0] >> 48)
            draft = self.drafts[number] if number >= 0 else None
            time = int(((codes.reshape(-1)[0] >> 31) & 0x1FFFF) - 2)
            if draft is None or draft.facts.get("module") != id(module) or time != already - 1:
                raise Refusal("it is given a state that is not its own of the timestep before")


def _silently(recorder: Recorder, original: Any, module: Any, args: Any, kwargs: Any) -> Any:
    """Run a module without looking into it."""
    recorder.muted += 1
    try:
        return original(module, *args, **kwargs)
    finally:
        recorder.muted -= 1


def _mapped(result: Any) -> Any:
    """Return what neurons gave in float64, in which the rest of the model runs."""
    if isinstance(result, torch.Tensor):
        return result.double() if result.dtype != torch.float64 else result
    if type(result) in (list, tuple):
        return type(result)(_mapped(each) for each in result)
    return result


def _several(codes: Codes) -> bool:
    times = ((codes >> 31) & 0x1FFFF) - 2
    return bool((times >= 0).any() and times.min() != times.max())


def _order(places: Codes, draft: Draft) -> str:
    """Return the axis order of a module's output: of the map, or position by position."""
    if (places == np.arange(len(places))).all():
        return "map"
    turned = places.reshape(draft.positions, draft.size[0]) if len(places) == draft.values else places
    expected = np.arange(draft.values).reshape(draft.size[0], draft.positions).T
    return "rows" if (turned == expected).all() else ""


def _packed(values: NDArray[np.float64]) -> NDArray[np.generic]:
    """Return integers of a layer in as little memory as they need; real values as they are."""
    if ((values == 0) | (values == 1)).all():
        return values.astype(np.bool_)
    return values


@contextmanager
def watching(recorder: Recorder) -> Iterator[None]:
    """Let a recorder see every module that runs."""
    original = torch.nn.Module.__call__

    def call(module: torch.nn.Module, *args: Any, **kwargs: Any) -> Any:
        if recorder.muted:
            return original(module, *args, **kwargs)
        return recorder.call_module(module, original, args, kwargs)

    torch.nn.Module.__call__ = call
    try:
        with recorder:
            yield
    finally:
        torch.nn.Module.__call__ = original
