"""How far rows are changed at random where a network is to say the same of a row and of its changed self.

Nothing here imports torch: objectives have these among their options.
"""

from typing import Annotated

from pydantic import Field

from tasks.sections import Fraction, Section


class StrongChanges(Section):
    """Pictures are turned by up to `degrees`, scaled by up to the share `scale`, slanted by up to `shear`
    pixels a pixel of height, moved by up to `shift` pixels, bent by up to `elastic` pixels (Simard et al.,
    "Best Practices for Convolutional Neural Networks Applied to Visual Document Analysis", ICDAR 2003, with
    fewer and farther points), and a square of `cutout` pixels becomes 0. Of vectors, the share `swap` of the
    values is from other rows.

    The changes must leave the class of a row as it is: a 6 that is turned far is a 9.
    """

    degrees: Annotated[float, Field(ge=0, le=180)] = 20.0
    scale: Annotated[float, Field(ge=0, lt=1)] = 0.15
    shear: Annotated[float, Field(ge=0, lt=1)] = 0.15
    shift: Annotated[float, Field(ge=0, le=64)] = 3.0
    elastic: Annotated[float, Field(ge=0, le=64)] = 2.0
    cutout: Annotated[int, Field(ge=0, le=256)] = 6
    swap: Fraction = 0.2
