"""A step of training that a GPU replays.

Importing this module imports torch.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor

# Steps before the recording: they make what later steps keep, such as momenta. Their results count.
_WARM_STEPS = 3

Step = Callable[..., Tensor]


class Replay(Protocol):
    """Makes a step that repeats `step`; all that it draws, it draws from `generator`."""

    def __call__(self, step: Step, generator: torch.Generator) -> Step: ...


def replay_on_cuda(step: Step, generator: torch.Generator) -> Step:
    """The step as a CUDA graph: it is recorded once, and then sent to the GPU as one piece of work.

    A small network has hundreds of kernels of microseconds a step, and to send each takes longer than to run
    it. The graph does what the step does: the same kernels in the same order, and each replay draws anew.

    Args:
        step: from tensors of always the same shapes to a tensor. Whatever else it reads or changes are
            tensors, which stay where they are.
        generator: of the GPU.
    """
    graph = torch.cuda.CUDAGraph()
    side = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    graph.register_generator_state(generator)
    given: list[Tensor] = []
    found: list[Tensor] = []
    n_warm = 0

    def call(*inputs: Tensor) -> Tensor:
        nonlocal n_warm
        if n_warm < _WARM_STEPS:
            n_warm += 1
            # As PyTorch asks: not on the stream that all else uses.
            side.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(side):
                result = step(*inputs)
            torch.cuda.current_stream().wait_stream(side)
            return result
        if not given:
            given.extend(each.clone() for each in inputs)
            with torch.cuda.graph(graph):
                found.append(step(*given))
        for place, value in zip(given, inputs, strict=True):
            place.copy_(value)
        graph.replay()
        # The next replay writes over it.
        return found[0].clone()

    return call
