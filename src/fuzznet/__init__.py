"""fuzznet: a WaveNet that learns a guitar pedal, written by hand."""

from fuzznet.convolution import receptive_field
from fuzznet.gradients import backpropagate, local_gradients
from fuzznet.loss import esr, esr_gradient
from fuzznet.network import Parameters, forward, initialize

__all__ = [
    "Parameters",
    "backpropagate",
    "esr",
    "esr_gradient",
    "forward",
    "initialize",
    "local_gradients",
    "receptive_field",
]
