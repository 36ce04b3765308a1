"""Fashion-MNIST: 70,000 pictures of clothes of 28 x 28 pixels (Xiao, Rasul and Vollgraf 2017)."""

from pathlib import Path

from tasks.contents import Examples, Fetch
from tasks.datasets._idx_sets import IdxSet, load
from tasks.sections import Section

GIVES = ("image",)
FASHION_MNIST = IdxSet(
    name="fashion_mnist",
    title="Fashion-MNIST",
    openml_name="Fashion-MNIST",
    mirrors_of="FashionMNIST",
    class_names=(
        "T-shirt/top",
        "Trouser",
        "Pullover",
        "Dress",
        "Coat",
        "Sandal",
        "Shirt",
        "Sneaker",
        "Bag",
        "Ankle boot",
    ),
    sha256={},
)


def read(inputs: Path, options: Section, fetch: Fetch) -> Examples:  # noqa: ARG001  # it has no options
    """The pictures; see `load`."""
    return load(FASHION_MNIST, inputs, fetch)
