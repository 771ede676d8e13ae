"""What the frameworks' own neurons emit on the same currents, and the `Neuron` that each is: tests/data/neurons.npz.

Run in an environment with torch 2.13, snntorch 1.0.0, norse 1.1.0, sinabs 3.1.3 and spikingjelly 2.0.0:

    python tests/reference/make_neurons.py tests/data/neurons.npz

All runs in float64. Half of the neurons get multiples of a quarter, so that potentials meet thresholds exactly.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import torch

STEPS, NEURONS = 24, 6


def currents():
    """Return currents [T, n]: multiples of a quarter, and any."""
    rng = np.random.default_rng(7)
    plain = rng.integers(-3, 8, (STEPS, NEURONS // 2)) / 4
    return np.concatenate([plain, 0.35 + 0.8 * rng.standard_normal((STEPS, NEURONS // 2))], axis=1)


def each(step):
    """Run ``step(x) -> (spikes, potential or None)`` on the currents, a timestep at a time."""
    spikes, potentials = [], []
    for x in torch.from_numpy(currents()):
        s, v = step(x[None])
        spikes.append(s[0].detach().numpy())
        potentials.append(np.full(NEURONS, np.nan) if v is None else v[0].detach().numpy())
    return np.stack(spikes), np.stack(potentials)


def snntorch_cases():
    """Yield name, run and fields of snnTorch's neurons."""
    import snntorch as snn

    leaky = {"leak": 0.75, "strict": True}

    def leaky_run(module):
        mem = module.reset_mem()

        def step(x):
            nonlocal mem
            spikes, mem = module(x, mem)
            return spikes, mem

        return each(step)

    for reset, at in (("subtract", "after-charge"), ("zero", "before-charge"), ("none", "now")):
        fields = leaky | {"reset": "value" if reset == "zero" else reset, "reset_at": at}
        yield f"snntorch.Leaky {reset}", leaky_run(snn.Leaky(beta=0.75, reset_mechanism=reset)), fields
    for reset, at in (("subtract", "both"), ("zero", "now")):
        fields = leaky | {"reset": "value" if reset == "zero" else reset, "reset_at": at}
        module = snn.Leaky(beta=0.75, reset_mechanism=reset, reset_delay=False)
        yield f"snntorch.Leaky {reset}, no delay", leaky_run(module), fields
    beta, threshold = torch.linspace(0.1, 0.9, NEURONS), torch.linspace(0.5, 1.5, NEURONS)
    arrays = {"by_channel": ["leak", "v_threshold"], "leak": beta.tolist(), "v_threshold": threshold.tolist()}
    module = snn.Leaky(beta=beta, threshold=threshold)
    fields = {"strict": True, "reset": "subtract", "reset_at": "after-charge"}
    yield "snntorch.Leaky by neuron", leaky_run(module), fields | arrays

    for reset in ("subtract", "zero"):
        fields = {"strict": True, "reset": "value" if reset == "zero" else reset, "reset_at": "after-charge"}
        module = snn.Lapicque(beta=0.8, reset_mechanism=reset)
        factor = float((1 / (module.R * module.C)) * module.time_step)
        own = {"gain": factor, "leak": float(1 - module.time_step / (module.R * module.C))}
        yield f"snntorch.Lapicque {reset}", leaky_run(module), fields | own

    def synaptic_run(module):
        syn, mem = module.reset_mem()

        def step(x):
            nonlocal syn, mem
            spikes, syn, mem = module(x, syn, mem)
            return spikes, mem

        return each(step)

    synaptic = leaky | {"synapse": "decay-add", "syn": 0.5}
    for reset, delay, at in (("subtract", True, "after-charge"), ("zero", True, "after-charge"), ("none", True, "now"),
                             ("subtract", False, "both"), ("zero", False, "now")):  # fmt: skip
        module = snn.Synaptic(alpha=0.5, beta=0.75, reset_mechanism=reset, reset_delay=delay)
        fields = synaptic | {"reset": "value" if reset == "zero" else reset, "reset_at": at}
        yield f"snntorch.Synaptic {reset}{'' if delay else ', no delay'}", synaptic_run(module), fields


def norse_cases():
    """Yield name, run and fields of Norse's neurons."""
    from norse.torch.functional import iaf, leaky_integrator, lif, lif_box
    from norse.torch.functional.reset import reset_subtract

    number = torch.as_tensor
    common = {"strict": True, "v_threshold": 0.5, "v_reset": -0.25, "v_leak": 0.25, "v_start": 0.25}
    own = {"v_th": number(0.5), "v_reset": number(-0.25), "v_leak": number(0.25), "tau_mem_inv": number(300.0)}

    def run(step, parameters, state):
        def one(x):
            nonlocal state
            spikes, state = step(x, state, parameters, 0.001)
            return spikes, state.v

        return each(one)

    zeros = torch.zeros(1, NEURONS)
    start = zeros + 0.25
    rate, syn = float(number(0.001) * number(300.0)), float(number(0.001) * number(200.0))
    parameters = lif.LIFParameters(tau_syn_inv=number(200.0), **own)
    fields = common | {"synapse": "jump", "syn": syn, "charge": "relax", "leak": rate}
    state = lif.LIFFeedForwardState(v=start, i=zeros)
    yield "norse.LIF", run(lif.lif_feed_forward_step, parameters, state), fields
    fields = common | {"charge": "box", "leak": rate}
    state = lif_box.LIFBoxFeedForwardState(v=start)
    yield "norse.LIFBox", run(lif_box.lif_box_feed_forward_step, lif_box.LIFBoxParameters(**own), state), fields
    boxed = lif_box.LIFBoxParameters(reset_method=reset_subtract, **own)
    fields = {key: value for key, value in fields.items() if key != "v_reset"} | {"reset": "subtract"}
    yield "norse.LIFBox subtract", run(lif_box.lif_box_feed_forward_step, boxed, state), fields
    state = iaf.IAFFeedForwardState(v=zeros)
    parameters = iaf.IAFParameters(v_th=number(0.5), v_reset=number(-0.25))
    fields = {"strict": True, "v_threshold": 0.5, "v_reset": -0.25}
    yield "norse.IAF", run(iaf.iaf_feed_forward_step, parameters, state), fields
    leaking = leaky_integrator.LIParameters(number(200.0), number(300.0), number(0.25))
    fields = {"synapse": "jump", "syn": syn, "charge": "relax", "leak": rate, "v_leak": 0.25, "v_start": 0.25}
    fields |= {"reset": "none", "emits": "potential"}
    state = leaky_integrator.LIState(v=start, i=zeros)
    yield "norse.LI", run(leaky_integrator.li_feed_forward_step, leaking, state), fields


def sinabs_cases():
    """Yield name, run and fields of sinabs' neurons."""
    from sinabs.activation import MaxSpike, MembraneReset, SingleSpike
    from sinabs.layers import IAF, LIF, ExpLeak

    def run(module):
        module = module.double()
        out = module(torch.from_numpy(currents())[None])
        potentials = np.full((STEPS, NEURONS), np.nan)
        return out[0].detach().numpy(), potentials

    most = {"levels": 2**15, "reset": "subtract", "single": True}
    once = {"reset": "subtract", "single": True}
    third = torch.tensor(0.3, dtype=torch.float32)
    yield "sinabs.IAF", run(IAF()), most
    yield "sinabs.IAF threshold", run(IAF(spike_threshold=third)), most | {"v_threshold": float(third)}
    yield "sinabs.IAF single", run(IAF(spike_fn=SingleSpike)), once
    yield "sinabs.IAF floor", run(IAF(min_v_mem=-0.3)), most | {"floored": True, "v_floor": -0.3}
    yield "sinabs.IAF most", run(IAF(spike_fn=MaxSpike(max_num_spikes_per_bin=2))), most | {"levels": 2}
    yield "sinabs.IAF reset", run(IAF(reset_fn=MembraneReset())), {"levels": 2**15}
    module = LIF(tau_mem=10.0).double()
    leak = module.alpha_mem_calculated.detach()
    fields = {"leak": float(leak), "gain": float(1 - leak), "v_threshold": 0.2}
    for name, spike_fn, own in (("", None, most), (" single", SingleSpike, once)):
        options = {"spike_fn": spike_fn} if spike_fn else {}
        module = LIF(tau_mem=10.0, spike_threshold=torch.tensor(0.2, dtype=torch.float64), **options)
        yield f"sinabs.LIF{name}", run(module), own | fields
    module = LIF(tau_mem=10.0, tau_syn=5.0, norm_input=False, min_v_mem=-0.5).double()
    fields = {"leak": float(leak), "synapse": "add-decay", "syn": float(module.alpha_syn_calculated), "floored": True}
    yield "sinabs.LIF current", run(module), most | fields | {"v_floor": -0.5}
    out, _ = run(ExpLeak(tau_mem=10.0))
    yield "sinabs.ExpLeak", (np.zeros_like(out), out), {"leak": float(leak), "reset": "none", "emits": "potential"}


def spikingjelly_cases():
    """Yield name, run and fields of SpikingJelly's neurons."""
    from spikingjelly.activation_based import neuron

    def run(module):
        module = module.double()

        def step(x):
            spikes = module(x)
            return spikes, module.v

        return each(step)

    hard = {"v_reset": 0.25, "v_start": 0.25}
    yield "spikingjelly.IF", run(neuron.IFNode(v_reset=0.25)), hard
    yield "spikingjelly.IF soft", run(neuron.IFNode(v_reset=None)), {"reset": "subtract"}
    relax = {"charge": "relax", "leak": 3.0, "divides": True}
    drain = {"charge": "drain", "leak": 3.0, "divides": True}
    yield "spikingjelly.LIF", run(neuron.LIFNode(tau=3.0, v_reset=0.25)), relax | hard | {"v_leak": 0.25}
    yield "spikingjelly.LIF soft", run(neuron.LIFNode(tau=3.0, v_reset=None)), relax | {"reset": "subtract"}
    module = neuron.LIFNode(tau=3.0, v_reset=0.25, decay_input=False)
    yield "spikingjelly.LIF whole input", run(module), drain | hard | {"v_leak": 0.25}
    module = neuron.LIFNode(tau=3.0, v_reset=0.0, decay_input=False)
    yield "spikingjelly.LIF whole input, to 0", run(module), drain  # before 2.0: decay, with a leak of 1 - 1 / 3
    for decay_input, fields in ((True, relax), (False, drain)):
        module = neuron.ParametricLIFNode(init_tau=3.0, v_reset=0.25, decay_input=decay_input)
        rate = float(module.double().w.sigmoid())
        own = fields | hard | {"v_leak": 0.25, "leak": rate, "divides": False}
        yield f"spikingjelly.ParametricLIF{'' if decay_input else ' whole input'}", run(module), own


def recurrent():
    """Return counts, weights and spikes of snnTorch's recurrent neurons; their spikes are float32, and made float64."""
    import snntorch as snn

    torch.manual_seed(3)
    inputs, size = 4, 6
    counts, feed = torch.poisson(torch.full((STEPS, inputs), 0.6)), torch.randn(size, inputs) * 0.6
    arrays = {"recurrent/counts": counts.numpy(), "recurrent/feed": feed.numpy()}
    leaky = snn.RLeaky(beta=0.85, linear_features=size)
    synaptic = snn.RSynaptic(alpha=0.6, beta=0.85, linear_features=size, reset_mechanism="zero")
    for module in (leaky, synaptic):
        state, spikes = [torch.zeros(1, size) for _ in range(2 if module is leaky else 3)], []
        for x in counts:
            state = [part.double() for part in module((x @ feed.T)[None], *state)]
            spikes.append(state[0][0].detach().numpy())
        name = f"recurrent/{type(module).__name__}"
        arrays[f"{name}/spikes"] = np.stack(spikes).astype(np.int16)
        arrays[f"{name}/weight"] = module.recurrent.weight.detach().numpy()
        arrays[f"{name}/bias"] = module.recurrent.bias.detach().numpy()
    return arrays


def main():
    """Write the file that the argument names."""
    torch.set_default_dtype(torch.float64)
    arrays = {"currents": currents()} | recurrent()
    for cases in (snntorch_cases, norse_cases, sinabs_cases, spikingjelly_cases):
        for name, (spikes, potentials), fields in cases():
            arrays[f"{name}|spikes"] = spikes.astype(np.int16)
            if np.isfinite(potentials).all():
                arrays[f"{name}|potentials"] = potentials
            arrays[f"{name}|fields"] = np.array(json.dumps(fields))
    np.savez_compressed(Path(sys.argv[1]), **arrays)


if __name__ == "__main__":
    main()
