"""Muon for a GPU: one step for all weights, which never waits for a number from the device.

Importing this module imports torch.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad


class BatchedMuon(torch.optim.Muon):
    """`torch.optim.Muon` to rounding, without weight decay; its learning rate may be a tensor on the device.

    The matrices are orthogonalised together, filled up with zeros to one size, which changes none of them.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One optimisation step."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            weights = [weight for weight in group["params"] if weight.grad is not None]
            if not weights:
                continue
            gradients = [weight.grad for weight in weights]
            momenta = [self._momentum(weight) for weight in weights]
            torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
            if group["nesterov"]:
                gradients = list(torch._foreach_lerp(gradients, momenta, group["momentum"]))
            else:
                gradients = momenta
            updates = orthogonalize(gradients, group["ns_coefficients"], group["ns_steps"], group["eps"])
            # Jordan's factor, so that tall and wide matrices move alike.
            scales = [math.sqrt(max(1, weight.shape[0] / weight.shape[1])) for weight in weights]
            torch._foreach_mul_(updates, scales)
            torch._foreach_mul_(updates, group["lr"])
            torch._foreach_sub_(weights, updates)
        return loss

    def _momentum(self, weight: Tensor) -> Tensor:
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(weight)
        buffer: Tensor = state["momentum_buffer"]
        return buffer


def orthogonalize(
    matrices: Sequence[Tensor], coefficients: tuple[float, float, float], n_steps: int, eps: float
) -> list[Tensor]:
    """The nearest orthogonal matrix of each, roughly, in float32; computed in bfloat16.

    Newton-Schulz iteration of the fifth order (Jordan et al. 2024, "Muon: an optimizer for hidden layers in
    neural networks"), for all matrices in one product of batches.

    Args:
        matrices: (m, n), of any sizes.
        coefficients: a, b, c of a X + b (X X') X + c (X X')^2 X.
        n_steps: iterations.
        eps: the least norm that a matrix is divided by.
    """
    a, b, c = coefficients
    wide = [matrix.T if matrix.shape[0] > matrix.shape[1] else matrix for matrix in matrices]
    height, width = (max(matrix.shape[axis] for matrix in wide) for axis in (0, 1))
    found = torch.stack(
        [pad(matrix, (0, width - matrix.shape[1], 0, height - matrix.shape[0])) for matrix in wide]
    ).bfloat16()
    found = found / found.norm(dim=(1, 2), keepdim=True).clamp(min=eps)
    for _ in range(n_steps):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    cut = [
        whole[: matrix.shape[0], : matrix.shape[1]].float() for whole, matrix in zip(found, wide, strict=True)
    ]
    return [
        each.T if matrix.shape[0] > matrix.shape[1] else each
        for each, matrix in zip(cut, matrices, strict=True)
    ]
