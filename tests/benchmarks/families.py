"""scratch profile"""
import sys, time, statistics
import numpy as np, torch
from pathlib import Path
sys.path.insert(0, str(Path(__file__).parent))

class Clocked:
    def __init__(self, layer): self._layer, self.spent = layer, 0.0
    def reset(self): self.spent = 0.0; self._layer.reset()
    def step(self, *p):
        b = time.thread_time(); o = self._layer.step(*p); self.spent += time.thread_time() - b
        return o

import eager as E; E.time.perf_counter = time.thread_time
from eager import Eager
from evsim import modelfile
from evsim.engine import Simulator
from evsim.observers import Counter, SpikeRecorder
F = Path(__file__).resolve().parents[2]/'build'/'bench'
def main(p, rounds=4, check=True):
    torch.set_num_threads(1)
    net = modelfile.load(F/f'{p}.model.h5'); sample = np.load(F/f'{p}.input.npy')
    x = torch.from_numpy(sample)
    with torch.inference_mode():
        if check:
            rec = SpikeRecorder(net)
            Simulator(net, precision='float64').run(sample, [rec])
            e = Eager(net, torch.float64); e.seen = {}
            e(x)
            from evsim.spikes import IntegerMap
            bad = 0
            for name, parts in rec._parts.items():
                mine = np.concatenate([p.values if isinstance(p, IntegerMap) else p.dense() for p in sorted(parts, key=lambda p: p.start)])
                d = int((mine != e.seen[name].numpy()).sum()); bad += d
                if d: print('differs', name, d, mine.size)
            print(p, 'flips', bad, flush=True)
            del e, rec
        sim = Simulator(net)
        for s in sim.stages: object.__setattr__(s, 'layer', Clocked(s.layer))
        e = Eager(net)
        ev, ea, per, epr = [], [], {}, {}
        for i in range(rounds+1):
            c = Counter(net, sim.timesteps); b = time.thread_time(); sim.run(sample, [c]); counts = c.counts(); t1 = time.thread_time()-b
            for s in sim.stages: per.setdefault(s.name, []).append(s.layer.spent)
            e.clock = {}
            b = time.thread_time(); e(x); t2 = time.thread_time()-b
            for n, v in e.clock.items(): epr.setdefault(n, []).append(v)
            if i: ev.append(t1); ea.append(t2)
    print(f"{p}: evsim {1e3*min(ev):.1f} ms eager {1e3*min(ea):.1f} ms ratio {min(ea)/min(ev):.2f}; sum of stages {1e3*sum(min(v) for v in per.values()):.1f}; SOPs {counts.sops/1e9:.2f}G")
    agg = {}
    for st in sim.stages:
        k = '+'.join(type(k).__name__ for k in st.nodes) + ' ' + net.shapes[st.sources[0]].kind
        a = agg.setdefault(k, [0, 0, 0]); a[0] += 1e3*min(per[st.name]); a[1] += 1e3*sum(min(epr.get(n.name, [0])) for n in st.nodes); a[2] += 1
    for k, v in sorted(agg.items(), key=lambda kv: -kv[1][0]): print(f"    {k:40s} {v[0]:8.2f} {v[1]:8.2f} n={v[2]}")
    rows = sorted(((min(per[s.name]), s) for s in sim.stages), key=lambda r: -r[0])
    for t, s in rows[:int(sys.argv[2]) if len(sys.argv) > 2 else 25]:
        en = sum(min(epr.get(n.name, [0])) for n in s.nodes)
        n = s.nodes[0]
        sh = net.shapes[s.sources[0]]
        kind = '+'.join(type(k).__name__ for k in s.nodes)
        w = f"{n.in_channels}->{n.out_channels} k{n.kernel} s{n.stride} g{n.groups}" if hasattr(n,'groups') else ''
        print(f"  {1e3*t:8.2f} {1e3*en:8.2f} {kind:16s} {s.name:40s} {sh} {w}")
main(sys.argv[1], rounds=3, check='-c' in sys.argv)
