"""Fashion-MNIST: 70,000 pictures of clothes of 28 x 28 pixels (Xiao, Rasul and Vollgraf 2017)."""

from pathlib import Path

from tasks.contents import Examples, Fetch
from tasks.datasets._idx_sets import LOCAL_FILES, IdxSet, load
from tasks.sections import Section

GIVES = ("image",)
INPUTS = LOCAL_FILES
FASHION_MNIST = IdxSet(
    name="fashion_mnist",
    title="Fashion-MNIST",
    openml_name="Fashion-MNIST",
    mirrors=("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
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
    # The project gives checksums of its gzip files, and of nothing else.
    gz_sha256={
        "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
        "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
        "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
        "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
    },
)


def read(inputs: Path, options: Section, fetch: Fetch) -> Examples:  # noqa: ARG001  # it has no options
    """The pictures; see `load`."""
    return load(FASHION_MNIST, inputs, fetch)
