"""fuzznet: a WaveNet that learns a guitar pedal, written by hand."""

from fuzznet.convolution import receptive_field
from fuzznet.gradients import backpropagate, local_gradients
from fuzznet.loss import esr, esr_gradient
from fuzznet.network import Parameters, forward, initialize
from fuzznet.practice import check
from fuzznet.streaming import Stream

__all__ = [
    "Parameters",
    "Stream",
    "backpropagate",
    "check",
    "esr",
    "esr_gradient",
    "forward",
    "initialize",
    "local_gradients",
    "receptive_field",
]
