"""From a module of PyTorch and an example to a network that is proven on it."""

from __future__ import annotations

import copy
import io
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import special

from evsim.errors import OptionError
from evsim.network import INPUT_KINDS, Network
from evsim.tracing import arithmetic, attention, einsum, operations, reductions  # noqa: F401 - they enter what they know
from evsim.tracing.axes import Example, arrange
from evsim.tracing.building import Builder
from evsim.tracing.call import tensors
from evsim.tracing.coordinates import LOST, ONCE, STATIC, Codes, encode, times_of
from evsim.tracing.drafts import Draft
from evsim.tracing.errors import Fault, TracingError
from evsim.tracing.folding import Graph
from evsim.tracing.neurons import recognise, reset, unwrapped
from evsim.tracing.proof import prove
from evsim.tracing.reading import LostError, Refusal, rows
from evsim.tracing.recorder import Recorder, watching

ENDINGS: Mapping[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "softmax": special.softmax, "log_softmax": special.log_softmax,
}  # fmt: skip
"""What a module may do to its logits at its end, which a network does without."""

FAILURES = (
    RuntimeError,
    ValueError,
    TypeError,
    IndexError,
    AssertionError,
    AttributeError,
    NotImplementedError,
    KeyError,
)
"""What a model raises that does not take its input as it is given."""


def traced(model: torch.nn.Module, example: Any, timesteps: int | None, names: Sequence[str] | str | None) -> Network:
    """Return the network of a module; see `evsim.from_torch`."""
    inner = unwrapped(model)
    if not isinstance(inner, torch.nn.Module):
        raise OptionError(f"`model` is a {type(inner).__name__}, no torch.nn.Module")
    title = type(inner).__name__
    first, *others = example if isinstance(example, tuple) else (example,)
    arranged = arrange(_tensor(first), timesteps, names, merged=_merges(inner))
    attempts = [False, True] if arranged.time is not None else [False]
    outcomes = []
    for apart in attempts:
        outcome = recorded(inner, arranged, apart, others)
        if outcome.done:
            return _network(outcome, arranged, title)
        outcomes.append(outcome)
    best = _most_telling(outcomes)
    if best.faults:
        raise TracingError(title, best.faults, hint=best.hint)
    raise TracingError(title, [Fault(best.spot, best.failure)])


class Outcome:
    """What one way of running a model gave: its graph and outputs, or why not."""

    def __init__(self, recorder: Recorder) -> None:
        self.recorder = recorder
        self.failure, self.hint, self.calls = "", "", 0
        self.spot: Any = None
        self.codes: Codes | None = None
        self.values: NDArray[np.float64] | None = None

    @property
    def faults(self) -> list[Fault]:
        """What could not be mapped."""
        return self.recorder.faults

    @property
    def done(self) -> bool:
        """Whether nothing was left open."""
        return not self.failure and not self.faults and self.codes is not None


def recorded(model: torch.nn.Module, example: Example, apart: bool, others: Sequence[Any]) -> Outcome:
    """Run a model on the example, whole or timestep by timestep, and write down what it does."""
    own = _copied(model)
    recorder = Recorder(own)
    outcome = Outcome(recorder)
    recorder.steps = example.steps
    with _float64(), torch.no_grad(), watching(recorder):
        source = _enter_input(recorder, example)
        outputs: list[Any] = []
        pieces = example.pieces() if apart else [example.values]
        for piece in pieces:
            recorder.follow(piece, _codes(source, example, piece, len(outputs) if apart else None))
            try:
                outputs.append(own(piece, *others, *_state(outputs)))
            except FAILURES as error:
                text = str(error).strip().splitlines()
                outcome.failure = f"it does not run on the example {list(piece.shape)}: {text[0] if text else error!r}"
                outcome.spot = recorder.spot()
                return outcome
            outcome.calls += 1
            while not apart and _runs_on(recorder, example, len(outputs)):
                outputs.append(own(piece, *others, *_state(outputs)))
    _read_outputs(outcome, outputs)
    return outcome


def _state(outputs: Sequence[Any]) -> tuple[Any, ...]:
    """Return the state that a model gave beside its output, which it is given again at the next timestep (Norse)."""
    if not outputs or not isinstance(outputs[-1], tuple) or len(outputs[-1]) != 2:
        return ()
    state = outputs[-1][1]
    return () if isinstance(state, torch.Tensor) or not any(True for _ in tensors(state)) else (state,)


def _runs_on(recorder: Recorder, example: Example, runs: int) -> bool:
    """Whether a model of one timestep, on an image, is to run once more."""
    if example.time is not None or recorder.faults or recorder.single_calls != runs:
        return False
    steps = example.timesteps
    if steps is None:
        raise OptionError(
            "the model runs one timestep at a time, and the example is one image; give `timesteps` to run as many"
        )
    return runs < steps


def _enter_input(recorder: Recorder, example: Example) -> int:
    steps = [STATIC] if example.time is None else list(range(example.steps or 1))
    draft = recorder.enter("input", [], example.size, steps, name="input", facts={"kind": INPUT_KINDS[example.kind]})
    return draft.number


def _codes(source: int, example: Example, piece: torch.Tensor, step: int | None) -> Codes:
    """Return the codes of the example, or of one timestep of it."""
    places = np.arange(int(np.prod(example.size)))
    if example.time is None:
        return example.laid(encode(source, STATIC, places[np.newaxis]), piece)
    steps = np.arange(example.steps or 1) if step is None else np.array([step])
    return example.laid(encode(source, steps[:, np.newaxis], places), piece)


def _read_outputs(outcome: Outcome, outputs: Sequence[Any]) -> None:
    """Read the logits' codes: of the first tensor that the model returns."""
    recorder = outcome.recorder
    codes, values = [], []
    for output in outputs:
        found = [t for t in tensors(output) if recorder.codes(t) is not None]
        if not found:
            outcome.failure = "what it returns does not come from the example, or by operations that cannot be seen"
            outcome.spot = recorder.spot()
            return
        parts = found if isinstance(output, list) else found[:1]
        codes += [recorder.array(part).reshape(-1) for part in parts]
        values += [part.detach().numpy().reshape(-1) for part in parts]
    outcome.codes, outcome.values = np.concatenate(codes), np.concatenate(values)
    if (outcome.codes == LOST).any() and not recorder.faults:
        recorder.fault("what the model returns does not come from the example")


def _network(outcome: Outcome, example: Example, title: str) -> Network:
    recorder = outcome.recorder
    assert outcome.codes is not None
    assert outcome.values is not None
    order = np.argsort(times_of(outcome.codes), kind="stable")
    times = np.unique(times_of(outcome.codes))
    steps = recorder.total(example)
    try:
        draft = _output(recorder, outcome.codes[order], times, steps)
    except (Refusal, LostError) as error:
        reason = str(error) or "its output comes of an operation that was refused"
        raise TracingError(title, [*recorder.faults, Fault(recorder.spot(), reason)]) from None
    ending = None
    if draft.kind == "softmax":
        ending, draft = ENDINGS[draft.facts["form"]], recorder.drafts[draft.sources[0]]
    graph = Graph(recorder.drafts, draft.number)
    last = times[0] == steps - 1 > 0
    builder = Builder(graph, steps, title, last=bool(last))
    spec = example.spec(steps)
    provenance = {"model": f"traced from {title} of PyTorch {torch.__version__}", "input": example.said}
    network = builder.network(spec, provenance)
    logits = outcome.values[order].reshape(len(times), -1).mean(axis=0)
    factor = graph.factor
    names = {number: graph.names[number] for number in graph.drafts if number in recorder.spikes}
    kept = {name: recorder.spikes[number] for number, name in names.items()}
    done = ending or (lambda values: values)
    said = prove(network, example.sample(steps), kept, logits, lambda given: done(factor * given))
    notes = {"proof": said}
    if ending is not None:
        notes["ending"] = "the softmax at the end of the module is left out: it changes no prediction"
    if factor != 1.0:
        notes["output"] = f"the module returns {factor:g} times as much: a sum, where logits are means"
    return _noted(network, notes)


def _output(recorder: Recorder, codes: Codes, times: Codes, steps: int) -> Draft:
    """Return the draft whose values, ordered by time, a model returns; a refusal if they are no logits."""
    if len(codes) % len(times):
        raise Refusal("it returns more values of one timestep than of another")
    draft, _, places = rows(recorder, codes.reshape(len(times), -1))
    if times[0] == STATIC:
        raise Refusal("the output is the same at all timesteps: no neuron stands before it")
    if not (places == np.arange(places.shape[1])).all():
        raise Refusal(f"it returns the values of {draft.name} in another order")
    if draft.positions > 1:
        raise Refusal(f"it returns a map {list(draft.size)}; logits are of one position")
    if times[0] not in (ONCE, steps - 1) and len(times) != steps:
        raise Refusal(f"it returns {len(times)} of {steps} timesteps")
    return draft


def _noted(network: Network, notes: Mapping[str, str]) -> Network:
    return replace(network, provenance={**network.provenance, **notes})


def _most_telling(outcomes: Sequence[Outcome]) -> Outcome:
    """Return the way of running that came furthest: one that ran, and was not given several timesteps at once."""
    return min(
        outcomes,
        key=lambda o: (
            bool(o.recorder.at_once), not o.faults, bool(o.failure), -o.calls, len(o.faults),
            -len(o.recorder.drafts.all),
        ),
    )  # fmt: skip


def _merges(model: torch.nn.Module) -> bool:
    """Whether neurons of the model take batch and time merged."""
    for module in model.modules():
        equation = recognise(module)
        if not isinstance(equation, str) and equation is not None and equation.steps == "merged":
            return True
    return False


def _copied(model: torch.nn.Module) -> torch.nn.Module:
    """Return a copy in evaluation mode and float64, whose neurons start anew."""
    try:
        own = copy.deepcopy(model)
    except FAILURES:  # some libraries' own __deepcopy__ fails where pickling does not
        try:
            memory = io.BytesIO()
            torch.save(model, memory)
            memory.seek(0)
            own = torch.load(memory, weights_only=False)  # what was written the line before
        except (*FAILURES, pickle.PicklingError) as error:
            text = str(error).strip().splitlines()
            what = text[0] if text else repr(error)
            raise OptionError(
                f"the model cannot be copied ({what}); reset its states, or trace it before it ran"
            ) from error
    own = own.cpu().double().eval()
    for module in own.modules():
        reset(module)
    return own


@contextmanager
def _float64() -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def _tensor(example: Any) -> torch.Tensor:
    if isinstance(example, torch.Tensor):
        return example.detach().cpu()
    try:
        return torch.as_tensor(np.asarray(example))
    except (TypeError, ValueError) as error:
        raise OptionError(f"`example_input` is a {type(example).__name__}; give a tensor") from error
