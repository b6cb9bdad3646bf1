import pytest
import torch
from training_chips import write_chips

from geounet.config import Config
from geounet.engine import out_of_memory
from geounet.errors import ConfigError
from geounet.networks.halo import View
from geounet.networks.unet import UNet
from geounet.train import train_model

TINY = {"base_width": 2, "depth": 1}


def narrow(monkeypatch, most):
    """Let there be memory for so many chips."""
    whole = UNet.forward

    def forward(network, image):
        if len(image) > most:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return whole(network, image)

    monkeypatch.setattr(UNet, "forward", forward)


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    return write_chips(tmp_path_factory.mktemp("memory") / "chips", counts={"train": 9}, size=16)


@pytest.mark.parametrize(("most", "advice"), [(5, "batch=4 --set accumulate=3"), (1, "batch=1 ")])
def test_a_batch_that_does_not_fit_is_told_with_one_that_does(
    tmp_path, monkeypatch, chips, most, advice
):
    narrow(monkeypatch, most)
    config = Config(network_settings=TINY, batch=9, epochs=1, device="cpu", precision="fp32")
    with pytest.raises(ConfigError, match=f"9 chips do not fit in the memory of cpu.*{advice}"):
        train_model(chips, config, tmp_path / "run")
    advised = config.model_copy(update={"batch": most, "accumulate": -(-9 // most)})
    train_model(chips, advised, tmp_path / "run", overwrite=True)


def test_where_not_one_chip_fits_the_network_is_too_wide(tmp_path, monkeypatch, chips):
    from geounet import training_plan

    # Looking for the halo runs the network too, on less.
    monkeypatch.setattr(training_plan, "measure_view", lambda *_: View(8, None))
    narrow(monkeypatch, 0)
    config = Config(network_settings=TINY, batch=2, epochs=1, device="cpu", precision="fp32")
    with pytest.raises(ConfigError, match=r"Not even one chip of 16 × 16.*base_width"):
        train_model(chips, config, tmp_path / "run")


def test_what_torch_says_of_memory_is_understood():
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)
    assert out_of_memory(caught.value)
    assert out_of_memory(MemoryError())
    assert not out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
