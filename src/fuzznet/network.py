"""The network: its parameters and its forward pass (chapter 4)."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from fuzznet.arrays import check_signal, namespace
from fuzznet.convolution import check_dilation, delayed_copies


@dataclass(frozen=True)
class Parameters:
    """All that the network learns, and the dilations, which it does not. Gradients have the same form.

    kernels: (L, N, K); biases: (L, N, 1), or (L, N, clip_length) for a bias over time; mixing: (L - 1, N), its row l
    makes x_{l+1} out of Z_l; output: (L, N), the report's W_Z; dilations: L whole numbers.
    """

    kernels: Any
    biases: Any
    mixing: Any
    output: Any
    dilations: tuple

    NAMES = ("kernels", "biases", "mixing", "output")

    def map(self, function, *others):
        """Apply function to each array, along with the same array of each of the others. Returns: Parameters."""
        results = {name: function(getattr(self, name), *(getattr(o, name) for o in others)) for name in self.NAMES}
        return Parameters(**results, dilations=self.dilations)

    def astype(self, dtype):
        """The same parameters in another floating-point type, in the same library."""
        return self.map(lambda array: namespace(array).astype(array, dtype, copy=False))

    @property
    def size(self):
        """How many numbers the network learns."""
        return sum(getattr(self, name).size for name in self.NAMES)


class Activations(NamedTuple):
    """What the forward pass leaves for the backward pass, a list entry for each layer. A lone clip has B = 1.

    inputs: L arrays x_l (B, T); outputs: L arrays Z_l (B, N, T).
    """

    inputs: list
    outputs: list


def initialize(rng, layers=8, kernels=10, kernel_size=3, bias="kernel", clip_length=None, dilations=None):
    """Random parameters as NumPy float64 arrays, from a normal distribution of standard deviation 1/3.

    rng: a numpy.random.Generator; bias: "kernel" for one number a kernel, or "time" for the report's one number a
    kernel and sample of a clip of clip_length samples; dilations: 1, 2, 4 ... 2**(layers - 1) unless given.
    Returns: Parameters. Raises ValueError for settings that make no network.
    """
    if min(layers, kernels, kernel_size) < 1:
        raise ValueError(f"layers={layers}, kernels={kernels}, kernel_size={kernel_size}: expected each at least 1")
    if bias not in ("kernel", "time"):
        raise ValueError(f'bias={bias!r}: expected "kernel" or "time"')
    if (clip_length is not None) if bias == "kernel" else (clip_length is None or clip_length < 1):
        raise ValueError(
            f'bias={bias!r} with clip_length={clip_length}: give a clip_length from 1 with bias="time", and only then'
        )
    dilations = [2**layer for layer in range(layers)] if dilations is None else dilations
    dilations = tuple(check_dilation(dilation) for dilation in dilations)
    if len(dilations) != layers:
        raise ValueError(f"{len(dilations)} dilations for {layers} layers: expected one a layer")

    def draw(*shape):
        return rng.normal(scale=1 / 3, size=shape)

    return Parameters(
        kernels=draw(layers, kernels, kernel_size),
        biases=draw(layers, kernels, clip_length or 1),
        mixing=draw(layers - 1, kernels),
        output=draw(layers, kernels),
        dilations=dilations,
    )


def sigmoid(x):
    """The logistic sigmoid, written so that no x overflows.

    sigma(x) = 1 / (1 + exp(-x)) = (1 + tanh(x / 2)) / 2

    x: any shape. Returns: the shape of x. Source: Eq. (4).
    """
    return 0.5 + 0.5 * namespace(x).tanh(0.5 * x)


def layer_output(kernels, biases, x, dilation):
    """One layer: every kernel met by the same input, a bias, the sigmoid.

    z[b, i, t] = sigma(sum over tau of kernels[i, tau] x[b, t - tau * dilation] + biases[i, t])

    kernels: (N, K); biases: (N, 1) or (N, T); x: (B, T). Returns: (B, N, T). Source: Eq. (3), (5).
    """
    return sigmoid(kernels @ delayed_copies(x, kernels.shape[-1], dilation) + biases)


def forward(parameters, x):
    """The network's output for clean sound, and what the backward pass needs.

    Z_l = layer_output(x_l), x_{l+1} = mixing_l Z_l + x_l, y_hat = sum over l of output_l Z_l

    x: (B, T) or (T,). Returns: y_hat in the shape of x, and Activations. Causal; before the first sample there is silence.
    Raises ValueError for a wrong shape or type. Source: Eq. (5), (6), (7).
    """
    check_signal(x, "x")
    check_parameters(parameters, x)
    xp = namespace(x, parameters.kernels)
    parameters = parameters.astype(x.dtype)  # the sound decides how precisely we compute
    layers = len(parameters.dilations)
    x_l = xp.reshape(x, (-1, x.shape[-1]))
    y_hat = xp.zeros_like(x_l)
    activations = Activations([], [])
    for l, dilation in enumerate(parameters.dilations):
        z = layer_output(parameters.kernels[l, ...], parameters.biases[l, ...], x_l, dilation)
        activations.inputs.append(x_l)
        activations.outputs.append(z)
        y_hat = y_hat + parameters.output[l, :] @ z
        if l < layers - 1:
            x_l = parameters.mixing[l, :] @ z + x_l
    return xp.reshape(y_hat, x.shape), activations


def check_parameters(parameters, x):
    """Raise ValueError unless the parameters are float32 or float64, and their shapes fit each other and the sound x."""
    arrays = [getattr(parameters, name) for name in parameters.NAMES]
    xp = namespace(*arrays)
    if not all(array.dtype in (xp.float32, xp.float64) for array in arrays):
        raise ValueError(f"parameters hold {[array.dtype for array in arrays]}: expected float32 or float64; use .astype")
    first, *shapes = (*(tuple(array.shape) for array in arrays), (len(parameters.dilations),))
    if len(first) != 3 or 0 in first:
        raise ValueError(f"kernels has shape {first}: expected (L, N, K), each at least 1")
    (layers, kernels, _), over_time = first, shapes[0][-1] if shapes[0] else 1
    expected = [(layers, kernels, over_time), (layers - 1, kernels), (layers, kernels), (layers,)]
    if shapes != expected:
        raise ValueError(f"biases, mixing, output, dilations have shapes {shapes}: expected {expected}, as kernels has")
    if over_time not in (1, x.shape[-1]):
        raise ValueError(
            f"x has {x.shape[-1]} samples, but the bias over time has {over_time}: "
            'cut x into clips of that length, or use bias="kernel", which takes any length'
        )
    for dilation in parameters.dilations:
        check_dilation(dilation)
