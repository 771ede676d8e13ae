"""`evsim compare`: two models side by side, and one model with its residual placed otherwise."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import naive
import numpy as np
import pytest
from commands import evsim

from evsim import countsfile, modelfile
from evsim.api import Sample, simulate
from evsim.audit.check import check
from evsim.audit.compare import Bench, compare, letter, stage_of
from evsim.audit.residual import placement, with_residual
from evsim.converters import ConvertOptions, convert
from evsim.converters.presets import Preset
from evsim.engine import Simulator
from evsim.errors import OptionError, RecordingError
from evsim.network import Network
from evsim.observers import SpikeRecorder
from evsim.synthesis import skeleton, synthesize

GOLDEN = Path(__file__).parent / "data" / "golden"
SMALL = Preset("imagenet", 32, 2, 4, 4, 10, 32, mean=(0.5,) * 3, std=(0.2,) * 3)


def golden(name):
    """Return the network and input of a golden."""
    folder = GOLDEN / name
    done = convert(folder / "checkpoint.pth.tar", ConvertOptions(family=name.split("-")[0]))
    return done.network, np.load(folder / "input.npy")


class Dense:
    """A plain NumPy forward pass of either family's ImageNet form, with the residual chosen by the caller."""

    def __init__(self, network: Network):
        self.weights, self.heads = network.weights, network.node("block.0.attn.ssa").heads

    def layer(self, name, x):
        """Convolution, bias and BatchNorm in float64; 3x3 kernels are padded."""
        weight = self.weights[f"{name}.weight"].astype(float)
        pad = weight.shape[0] // 2
        bias = self.weights.get(f"{name}.bias", 0.0)
        shifted = naive.conv(x, weight, (1, 1), (pad, pad)) + bias
        return shifted * self.weights[f"{name}.bn_scale"] + self.weights[f"{name}.bn_shift"]

    def attend(self, path, x):
        """Fire q, k and v from x and return the spikes of attn_lif."""
        q, k, v = (naive.lif(self.layer(f"{path}.{letter}_conv", x), 2.0, 1.0) for letter in "qkv")
        rows = (part.reshape(len(part), -1, part.shape[3]) for part in (q, k, v))
        out = naive.attention(*rows, self.heads, 0.125)
        return naive.lif(out, 2.0, 0.5).reshape(q.shape).astype(float)

    def blocks(self, x, mlp, *, sew):
        """Run two blocks on the stream x; return the stream after them."""
        for block in range(2):
            attn, names = f"block.{block}.attn", [f"block.{block}.mlp.{name}_conv" for name in mlp]
            if sew:
                x = x + self.fire(self.layer(f"{attn}.proj_conv", self.attend(attn, x)))
                x = x + self.fire(self.layer(names[1], self.fire(self.layer(names[0], x))))
            else:
                x = x + self.layer(f"{attn}.proj_conv", self.attend(attn, self.fire(x)))
                x = x + self.layer(names[1], self.fire(self.layer(names[0], self.fire(x))))
        return x

    def fire(self, x):
        """LIF of tau 2, threshold 1, as floats."""
        return naive.lif(x, 2.0, 1.0).astype(float)

    def logits(self, x):
        """Mean over tokens and timesteps, then the head."""
        return x.mean(axis=(0, 1, 2)) @ self.weights["head.weight"] + self.weights["head.bias"]


def test_spikingformer_with_a_sew_residual_equals_a_dense_one():
    """Moved behind the branches, the neurons give what a plain forward pass of that residual gives."""
    network, image = golden("spikingformer-imagenet")
    other = with_residual(network, "sew")
    dense = Dense(network)
    x = np.repeat(image.transpose(1, 2, 0)[None], 4, axis=0).astype(float)
    x = dense.layer("patch_embed.proj_conv", x)
    for i in range(1, 5):
        x = dense.layer(f"patch_embed.proj{i}_conv", naive.max_pool(dense.fire(x), 3, 2, 1))
    want = dense.logits(dense.blocks(dense.fire(x), ("mlp1", "mlp2"), sew=True))
    np.testing.assert_allclose(simulate(other, image, precision="float64").logits, want, rtol=0, atol=1e-9)
    assert placement(other) == "sew"
    assert not check(other).spike_driven


def test_spikformer_with_a_spike_driven_residual_equals_a_dense_one():
    """Moved before the branches, the neurons give what a plain forward pass gives, and `check` passes."""
    network, image = golden("spikformer-imagenet")
    other = with_residual(network, "spike-driven")
    dense = Dense(network)
    x = np.repeat(image.transpose(1, 2, 0)[None], 4, axis=0).astype(float)
    for i in ("", "1", "2", "3"):
        x = naive.max_pool(dense.fire(dense.layer(f"patch_embed.proj_conv{i}", x)), 3, 2, 1)
    x = x + dense.layer("patch_embed.rpe_conv", x)
    want = dense.logits(dense.blocks(x, ("fc1", "fc2"), sew=False))
    np.testing.assert_allclose(simulate(other, image, precision="float64").logits, want, rtol=0, atol=1e-9)
    assert placement(other) == "spike-driven"
    assert check(other).spike_driven


@pytest.mark.parametrize(
    "name",
    ["spikingformer-cifar", "spikingformer-dvs", "spikingformer-imagenet-cml", "spikformer-cifar", "spikformer-dvs"],
)
def test_every_form_can_be_moved(name):
    """The residual of every tokenizer moves; both schedules agree; as it is, the network stays the same object."""
    network, values = golden(name)
    here = placement(network)
    assert with_residual(network, here) is network
    other = with_residual(network, "sew" if here == "spike-driven" else "spike-driven")
    assert placement(other) != here
    trains = []
    for schedule in ("layer", "time"):
        recorder = SpikeRecorder(other)
        Simulator(other, precision="float64", schedule=schedule).run(values, [recorder])
        trains.append(recorder.trains)
    assert all((trains[0][lif][0] == trains[1][lif][0]).all() for lif in trains[0])


def test_other_families_and_words_are_refused():
    """--residual knows two placements and two families."""
    network = skeleton(SMALL)
    with pytest.raises(OptionError, match="spike-driven or sew"):
        with_residual(network, "none")
    with pytest.raises(OptionError, match="not sdt"):
        placement(replace(network, family="sdt"))


def test_stages_and_totals_add_up(tmp_path):
    """Stages are tokenizer, attention and MLP of each block, head; they sum up to each run's own totals."""
    made = [synthesize(replace(SMALL, family=family), 0.2) for family in ("spikingformer", "spikformer")]
    samples = [made[0].sample, made[1].sample]
    for i, sample in enumerate(samples):
        np.save(tmp_path / f"{i}.npy", sample)
    done = compare([model.network for model in made], tmp_path)
    blocks = [f"block.{i}.{part}" for i in range(2) for part in ("attn", "mlp")]
    assert list(done.stages) == ["tokenizer", *blocks, "head"]
    for side, model in enumerate(made):
        runs = [simulate(model.network, sample) for sample in samples]
        total = done.totals[side]
        assert total.sops == pytest.approx(np.mean([run.counts.sops for run in runs]))
        assert total.macs == pytest.approx(np.mean([run.counts.macs for run in runs]))
        assert total.exact_mj == pytest.approx(np.mean([run.exact().energy_mj for run in runs]))
        assert total.paper_mj == pytest.approx(np.mean([run.paper().energy_mj for run in runs]))
        events = [run.paper(nonspike="integer-as-events").energy_mj for run in runs]
        assert total.paper_events_mj == pytest.approx(np.mean(events))
        assert done.predictions == tuple(
            tuple(simulate(other.network, sample).prediction for other in made) for sample in samples
        )
    assert done.agreement == np.mean([a == b for a, b in done.predictions])


def test_models_of_different_depth_stand_side_by_side(tmp_path):
    """A stage that one model lacks is empty on its side; the head stays last."""
    made = [synthesize(replace(SMALL, depth=depth), 0.2) for depth in (1, 3)]
    np.save(tmp_path / "input.npy", made[0].sample)
    for pair in (made, made[::-1]):
        done = compare([model.network for model in pair], tmp_path / "input.npy")
        assert list(done.stages)[-2:] == ["block.2.mlp", "head"]
        lacking = done.stages["block.2.mlp"][0 if pair is made else 1]
        assert lacking is None
    assert stage_of("patch_embed.proj_conv") == "tokenizer"
    assert stage_of("head") == "head"


def test_an_empty_folder_is_refused(tmp_path):
    """A folder without files says so."""
    network = skeleton(SMALL)
    with pytest.raises(RecordingError, match="holds no files"):
        compare((network, network), tmp_path)


def test_files_of_no_known_format_are_skipped(tmp_path):
    """A folder's notes and labels are counted and named, not run; a folder of nothing else is refused."""
    network, image = golden("spikingformer-imagenet")
    modelfile.save(network, tmp_path / "a.h5")
    folder = tmp_path / "in"
    (folder / "more").mkdir(parents=True)
    (folder / "README.txt").write_text("about")
    (folder / "more" / "labels.csv").write_text("")
    arguments = ("compare", tmp_path / "a.h5", tmp_path / "a.h5", "--input", folder, "--json", tmp_path / "c.json")
    outcome = evsim(*arguments)
    assert outcome.code == 2
    assert "holds no file of a format" in outcome.err
    np.save(folder / "z.npy", image)
    outcome = evsim(*arguments)
    assert outcome.code == 0
    assert "note: skipped 2 files of no known format" in outcome.err
    assert "README.txt" in outcome.err
    assert "labels.csv" in outcome.err
    document = json.loads((tmp_path / "c.json").read_text())
    assert document["inputs"] == [str(folder / "z.npy")]
    assert len(document["skipped"]) == 2
    assert "both need the same" in outcome.out
    assert "0.00% less" not in outcome.out


@pytest.mark.parametrize(("name", "content"), [("z.npy", b"no array"), ("z.aedat", b"")])
def test_unreadable_inputs_stop_before_any_run(name, content, tmp_path, monkeypatch):
    """The last file of a folder is damaged: its one line comes before the first file has run."""
    network, image = golden("spikingformer-imagenet")
    np.save(tmp_path / "a.npy", image)
    (tmp_path / name).write_bytes(content)
    runs = []
    monkeypatch.setattr("evsim.audit.compare.run_on", lambda *_, **__: runs.append(1))
    with pytest.raises(RecordingError, match=name):
        compare((network, network), tmp_path)
    assert not runs


def test_each_model_is_built_once(tmp_path, monkeypatch):
    """However many inputs there are, the weights of a model are packed once; another T needs another simulator."""
    network, image = golden("spikingformer-imagenet")
    built = []

    class Watched(Simulator):
        def __init__(self, network, timesteps, **options):
            built.append(timesteps)
            super().__init__(network, timesteps, **options)

    monkeypatch.setattr("evsim.audit.compare.Simulator", Watched)
    for i in range(3):
        np.save(tmp_path / f"{i}.npy", np.roll(image, i, axis=1))
    outcome = compare((network, with_residual(network, "sew")), tmp_path)
    assert built == [4, 4]
    alone = [compare((network, with_residual(network, "sew")), path) for path in sorted(tmp_path.iterdir())]
    assert outcome.predictions == tuple(one.predictions[0] for one in alone)
    assert outcome.totals[1].sops == pytest.approx(np.mean([one.totals[1].sops for one in alone]))
    bench = Bench(network, 1, None)
    built.clear()
    for timesteps in (4, None, 2, 2, 4):
        run = bench.run(Sample(image, timesteps=timesteps), detail=False)
        assert run.timesteps == (timesteps or 4)
    assert built == [4, 2, 4]


def test_ratios_are_those_of_the_figures(tmp_path):
    """JSON and table give B / A of SOPs, MACs and every energy, by stage and in total."""
    made = [synthesize(replace(SMALL, family=family), 0.2) for family in ("spikingformer", "spikformer")]
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path, model in zip(paths, made, strict=True):
        modelfile.save(model.network, path)
    np.save(tmp_path / "input.npy", made[0].sample)
    outcome = evsim("compare", *paths, "--input", tmp_path / "input.npy", "--json", tmp_path / "c.json")
    assert outcome.code == 0
    document = json.loads((tmp_path / "c.json").read_text())
    for figures in (document["totals"], *document["stages"].values()):
        for name in ("sops", "macs", "exact_mj", "paper_mj", "paper_events_mj"):
            a, b = figures["a"][name], figures["b"][name]
            assert figures["ratio"][name] == (pytest.approx(b / a) if a else None), name
    assert document["stages"]["block.0.attn"]["ratio"]["macs"] is None
    total = next(line for line in outcome.out.splitlines() if line.startswith("B/A"))
    names = ("sops", "macs", "exact_mj", "paper_mj", "paper_events_mj")
    assert total.split()[1:] == [f"{document['totals']['ratio'][name]:.3f}" for name in names]
    assert document["totals"].keys() == {"a", "b", "ratio"}
    assert max(len(line) for line in outcome.out.splitlines()[3:] if not line.startswith("energy, ")) <= 80


def test_any_number_of_models_stands_side_by_side(tmp_path):
    """Five models of two families: letters in JSON, ratios against a, each as with A alone; 80 columns."""
    made = [synthesize(replace(SMALL, family=family), 0.2) for family in ("spikingformer", "spikformer")]
    made += [synthesize(replace(SMALL, depth=1), rate) for rate in (0.1, 0.2, 0.3)]
    paths = [tmp_path / f"{i}.h5" for i in range(5)]
    for path, model in zip(paths, made, strict=True):
        modelfile.save(model.network, path)
    np.save(tmp_path / "input.npy", made[0].sample)
    source = ("--input", tmp_path / "input.npy")
    outcome = evsim("compare", *paths, *source, "--json", tmp_path / "c.json", "--counts", tmp_path / "counts")
    assert outcome.code == 0
    document = json.loads((tmp_path / "c.json").read_text())
    assert document["totals"].keys() == {*"abcde", "ratio", "ratios"}
    assert document["stages"]["block.1.attn"]["c"] is None
    assert len(document["predictions"][0]) == 5
    for side, path in zip("bcde", paths[1:], strict=True):
        alone = json.loads(evsim("compare", paths[0], path, *source, "--json", "-").out)["totals"]
        assert document["totals"][side] == alone["b"]
        assert document["totals"]["ratios"][side] == alone["ratio"]
        energies = {view: alone["b"][view] for view in ("exact_mj", "paper_mj", "paper_events_mj")}
        assert all(f"{energy:.6f}" in outcome.out for energy in energies.values())
    assert document["totals"]["ratio"] == document["totals"]["ratios"]["b"]
    lines = outcome.out.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(tuple("ABCDE"))][:5] == ["A:", "B:", "C:", "D:", "E:"]
    assert max(len(line) for line in lines if not line.startswith("on ")) <= 80
    folded = sum(document["stages"][f"block.{i}.attn"]["a"]["exact_mj"] for i in range(2))
    assert any(line.split()[:2] == ["block.attn", f"{folded:.6f}"] for line in lines)
    assert {path.name[:2] for path in (tmp_path / "counts").iterdir()} == {"a-", "b-", "c-", "d-", "e-"}


def test_letters_go_on_behind_z():
    """As the columns of a sheet."""
    assert [letter(which) for which in (0, 25, 26, 51, 52)] == ["a", "z", "aa", "az", "ba"]


def test_command_line(tmp_path):
    """Two models, or one and --residual; both or neither is an error; the ablation warns about accuracy."""
    made = [synthesize(replace(SMALL, family=family), 0.2) for family in ("spikingformer", "spikformer")]
    paths = [tmp_path / "a.h5", tmp_path / "b.h5"]
    for path, model in zip(paths, made, strict=True):
        modelfile.save(model.network, path)
    np.save(tmp_path / "input.npy", made[0].sample)
    source = ("--input", tmp_path / "input.npy")
    outcome = evsim("compare", *paths, *source, "--json", tmp_path / "out.json")
    assert outcome.code == 0
    text = outcome.out
    assert "predictions agree on" in text
    assert "not comparable" not in text
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["totals"]["b"]["paper_mj"] > document["totals"]["b"]["paper_events_mj"]
    outcome = evsim("compare", paths[0], "--residual", "sew", *source)
    assert outcome.code == 0
    assert "Predictions are not comparable" in outcome.out
    for arguments, message in (
        ((paths[0], *source), "a second model or --residual"),
        ((*paths, "--residual", "sew", *source), "with --residual one model alone"),
        ((paths[1], "--residual", "sew", *source), "already has a sew residual; give --residual spike-driven"),
        ((paths[0], "--residual", "x", *source), "--residual must be"),
    ):
        outcome = evsim("compare", *arguments)
        assert outcome.code == 2
        assert message in outcome.err


def test_the_golden_models_compare_end_to_end(tmp_path):
    """From two checkpoints to the table: Spikformer's integers cost more than Spikingformer's spikes in every view."""
    paths = []
    for family in ("spikingformer", "spikformer"):
        paths.append(tmp_path / f"{family}.h5")
        checkpoint = GOLDEN / f"{family}-imagenet" / "checkpoint.pth.tar"
        assert evsim("convert", checkpoint, paths[-1], "--family", family).code == 0
    source = ("--input", GOLDEN / "spikformer-imagenet" / "input.npy")
    outcome = evsim("compare", *paths, *source, "--json", "-")
    assert outcome.code == 0
    document = json.loads(outcome.out)
    a, b = (document["totals"][side] for side in "ab")
    assert all(a[view] < b[view] for view in ("exact_mj", "paper_mj", "paper_events_mj"))
    assert a["paper_mj"] == a["paper_events_mj"]
    golden = json.loads((GOLDEN / "spikformer-imagenet" / "paper_tool.json").read_text())
    assert b["paper_mj"] == pytest.approx(golden["energy_mJ"])
    assert b["paper_events_mj"] == pytest.approx(golden["integer_as_events"]["energy_mJ"])


def test_counts_of_a_comparison_are_kept(tmp_path):
    """--counts writes the counts of A and B, summed over the inputs, from which `evsim energy` charges the same."""
    network, image = golden("spikingformer-imagenet")
    modelfile.save(network, tmp_path / "a.h5")
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "1.npy", image)
    np.save(tmp_path / "in" / "2.npy", image[..., ::-1])
    out = tmp_path / "counts"
    arguments = ("--residual", "sew", "--input", tmp_path / "in", "--counts", out, "--json", tmp_path / "c.json")
    outcome = evsim("compare", tmp_path / "a.h5", *arguments)
    assert outcome.code == 0
    totals = json.loads((tmp_path / "c.json").read_text())["totals"]
    names = [f"a-{network.name}", f"b-{with_residual(network, 'sew').name}"]
    for side, name in zip("ab", names, strict=True):
        stored = countsfile.load(out / f"{name}.counts.h5")
        assert stored.counts.samples == len(stored.origin.inputs) == 2
        assert stored.counts.sops / 2 == totals[side]["sops"]
        assert all(layer.traffic is not None for layer in stored.counts.layers)
    assert str(out) in outcome.err


def test_run_shows_both_settings(tmp_path):
    """A Spikformer's run shows both ways of charging integers; --nonspike chooses that of the table and of JSON."""
    made = synthesize(replace(SMALL, family="spikformer"), 0.2)
    modelfile.save(made.network, tmp_path / "model.h5")
    np.save(tmp_path / "input.npy", made.sample)
    arguments = ("run", tmp_path / "model.h5", "--input", tmp_path / "input.npy")
    run = simulate(made.network, made.sample)
    views = {setting: run.paper(nonspike=setting) for setting in ("binary-only", "integer-as-events")}
    outcome = evsim(*arguments)
    assert outcome.code == 0
    text = outcome.out
    assert all(f"{view.energy_mj:.6f} mJ" in text for view in views.values())
    for setting, view in views.items():
        outcome = evsim(*arguments, "--nonspike", setting, "--json", "-")
        assert outcome.code == 0
        totals = json.loads(outcome.out)["totals"]
        assert totals["paper"]["energy_mj"] == pytest.approx(view.energy_mj)
        both = {key: value["energy_mj"] for key, value in totals["paper_by_nonspike"].items()}
        assert both == pytest.approx({key: value.energy_mj for key, value in views.items()})
    assert evsim(*arguments, "--counts", tmp_path / "counts.h5").code == 0
    for setting, view in views.items():
        other = next(key for key in views if key != setting)
        outcome = evsim("energy", tmp_path / "counts.h5", "--set", f"nonspike={setting}")
        assert outcome.code == 0
        text = outcome.out
        assert f"by {other} (--set nonspike={other}) it is {views[other].energy_mj:.6f} mJ" in text
        assert f"{view.energy_mj:.9f} mJ" in text
    outcome = evsim(*arguments, "--nonspike", "guess")
    assert outcome.code == 2
    assert "--nonspike must be" in outcome.err
