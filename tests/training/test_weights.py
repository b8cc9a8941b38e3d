"""Weights from files and from the hubs: today's names, no code, both sides of a mismatch, what is missing."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models.densenet import DenseNet

from training.networks.published import WeightsMissing, fetch_weights, weights_file
from training.networks.weights import Weights, load_body, read_weights, todays_names


def small_densenet(*, classes: int = 14) -> nn.Module:
    """torchvision's layout at a size that a test can write to disk."""
    return DenseNet(4, (1, 1, 1, 1), 8, num_classes=classes)  # type: ignore[no-any-return]


def published(*, seed: int = 1) -> dict[str, Tensor]:
    """A state dict with ImageNet's thousand classes."""
    torch.manual_seed(seed)
    return small_densenet(classes=1000).state_dict()


def old_named(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """As torchvision's own files still name it, under DataParallel."""
    old = {
        name.replace("norm1.", "norm.1.")
        .replace("norm2.", "norm.2.")
        .replace("conv1.", "conv.1.")
        .replace("conv2.", "conv.2.")
        if "denselayer" in name
        else name: tensor
        for name, tensor in state.items()
        if not name.endswith("num_batches_tracked")
    }
    return {f"module.{name}": tensor for name, tensor in old.items()}


class TestReading:
    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    def test_a_state_dict_comes_back_as_written(self, suffix: str, tmp_path: Path) -> None:
        path, state = tmp_path / f"weights{suffix}", published()
        if suffix == ".pth":
            torch.save(state, path)
        else:
            save_file(state, path)
        weights = read_weights(path)
        assert weights.source == str(path)
        assert weights.tensors.keys() == state.keys()
        assert all(torch.equal(weights.tensors[name], tensor) for name, tensor in state.items())

    def test_a_checkpoint_keeps_the_network_beside_other_things(self, tmp_path: Path) -> None:
        torch.save({"epoch": 3, "state_dict": published()}, tmp_path / "checkpoint.pth")
        assert read_weights(tmp_path / "checkpoint.pth").tensors.keys() == published().keys()

    def test_old_names_and_data_parallels_prefix_become_todays(self) -> None:
        state = published()
        renamed = todays_names(old_named(state))
        assert "module.features.denseblock1.denselayer1.norm.1.weight" in old_named(state)
        assert renamed.keys() == {name for name in state if not name.endswith("num_batches_tracked")}

    def test_a_pickle_that_would_run_code_is_refused(self, tmp_path: Path) -> None:
        path, witness = tmp_path / "evil.pth", tmp_path / "ran"

        class Evil:
            def __reduce__(self) -> tuple[object, ...]:
                return (Path.touch, (witness,))

        path.write_bytes(pickle.dumps({"features.conv0.weight": Evil()}, protocol=2))
        with pytest.raises(ValueError, match="could run code"):
            read_weights(path)
        torch.save(small_densenet(), path)
        with pytest.raises(ValueError, match="could run code"):
            read_weights(path)
        assert not witness.exists()

    @pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
    @pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut", b"no weights at all"])
    def test_a_damaged_file_is_refused(self, content: bytes, suffix: str, tmp_path: Path) -> None:
        path = tmp_path / f"weights{suffix}"
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"is no safetensors file|or is damaged|is damaged, or holds"):
            read_weights(path)

    @pytest.mark.parametrize("content", [[1, 2], {}, {"epoch": 3}, {1: torch.zeros(1)}])
    def test_what_is_no_state_dict_is_refused(self, content: object, tmp_path: Path) -> None:
        torch.save(content, tmp_path / "other.pth")
        with pytest.raises(ValueError, match="state dict"):
            read_weights(tmp_path / "other.pth")

    def test_a_missing_file_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(FileNotFoundError, match=r"nowhere\.pth"):
            read_weights(tmp_path / "nowhere.pth")


class TestLoading:
    def test_all_but_the_classifier_is_taken(self) -> None:
        network, state = small_densenet(), published()
        before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        load_body(network, Weights(source="test", tensors=todays_names(old_named(state))))
        for name, tensor in network.state_dict().items():
            if not name.endswith("num_batches_tracked"):
                assert torch.equal(tensor, before[name] if name.startswith("classifier") else state[name])

    def test_unmatched_names_are_shown_on_both_sides(self) -> None:
        state = published()
        state["features.conv9.weight"] = state.pop("features.conv0.weight")
        with pytest.raises(ValueError, match=r"the weights of f\.pth do not fit") as refused:
            load_body(small_densenet(), Weights(source="f.pth", tensors=state))
        assert "only in the file: features.conv9.weight" in str(refused.value)
        assert "only in the network: features.conv0.weight" in str(refused.value)

    def test_shapes_are_shown_on_both_sides(self) -> None:
        wider = DenseNet(4, (1, 1, 1, 1), 16).state_dict()
        with pytest.raises(
            ValueError, match=r"conv0\.weight: \[16, 3, 7, 7\] in the file, \[8, 3, 7, 7\] in"
        ):
            load_body(small_densenet(), Weights(source="wider", tensors=wider))

    def test_a_long_list_is_cut(self) -> None:
        with pytest.raises(ValueError, match=r"and \d+ more"):
            load_body(small_densenet(), Weights(source="empty", tensors={}))


@pytest.fixture
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without weights and without network."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_HUB_CACHE", raising=False)
    # A port where nobody listens.
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    return tmp_path


class TestPublished:
    def test_a_file_comes_before_the_hub(self, offline: Path) -> None:
        torch.save(published(), offline / "w.pth")
        assert weights_file("densenet121", str(offline / "w.pth")) == offline / "w.pth"

    def test_the_hubs_folder_is_used(self, offline: Path) -> None:
        folder = offline / "torch" / "hub" / "checkpoints"
        folder.mkdir(parents=True)
        (folder / "densenet121-a639ec97.pth").write_bytes(b"other")
        with pytest.raises(WeightsMissing, match="not the one in its name"):
            weights_file("densenet121", "imagenet")

    @pytest.mark.parametrize("architecture", ["densenet121", "densenet161", "efficientnet_b4"])
    def test_missing_weights_are_an_error_that_names_them(self, architecture: str, offline: Path) -> None:
        with pytest.raises(
            WeightsMissing, match=rf"{architecture}.* are not at .*\.pth: run `cxrserve train w"
        ):
            weights_file(architecture, "imagenet")
        with pytest.raises(WeightsMissing, match="cannot be fetched"):
            fetch_weights(architecture, "imagenet")

    def test_timms_file_is_taken_from_its_cache(self, offline: Path) -> None:
        with pytest.raises(WeightsMissing, match=r"densenetblur121d.* are not at .*model\.safetensors"):
            weights_file("densenetblur121d", "imagenet")
        folder = offline / "hf" / "hub" / "models--timm--densenetblur121d.ra_in1k"
        (folder / "snapshots" / "0a1b").mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("0a1b", encoding="utf-8")
        (folder / "snapshots" / "0a1b" / "model.safetensors").write_bytes(b"weights")
        assert weights_file("densenetblur121d", "imagenet") == folder / "snapshots/0a1b/model.safetensors"

    def test_what_nobody_publishes_is_said(self, offline: Path) -> None:
        with pytest.raises(WeightsMissing, match="nobody publishes ImageNet weights of densenet121d"):
            fetch_weights("densenet121d", "imagenet")

    def test_scratch_is_only_on_request(self, offline: Path) -> None:
        assert weights_file("densenet121", "scratch") is None
        assert weights_file("small", "imagenet") is None
