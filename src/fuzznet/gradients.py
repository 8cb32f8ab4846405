"""Gradients of the loss: the report's short paths, and exact backpropagation (chapters 6 to 9).

In all of it, dy is the gradient of the loss with respect to the network's output, and d<name> that with respect to <name>.
"""

from fuzznet.arrays import check_signal, namespace
from fuzznet.convolution import delayed_copies, sum_of_advanced_copies
from fuzznet.network import Parameters, check_parameters


def mixer_gradient(z, upstream):
    """Gradient of the weights of a weighted sum over kernels, s[b, t] = sum over i of weights[i] z[b, i, t].

    dweights[i] = sum over b and t of upstream[b, t] z[b, i, t]

    z: (B, N, T); upstream, the gradient of s: (B, T). Returns: (N,).
    Source: Eq. (10), (11) for the output mixer, and the last factor of Eq. (19) for the mixing weights.
    """
    xp = namespace(z, upstream)
    return xp.sum((z @ upstream[:, :, None])[..., 0], axis=0)


def sigmoid_gradient(dz, z):
    """Gradient in front of the sigmoid, from the gradient behind it.

    da = dz z (1 - z), because sigma' = sigma (1 - sigma)

    dz, z: (B, N, T). Returns: (B, N, T). Source: the middle factors of Eq. (14).
    """
    return dz * z * (1 - z)


def kernel_gradient(da, x, kernel_size, dilation):
    """Gradient of the kernels of one layer: tap tau meets the sample that lies tau * dilation in the past.

    dkernels[i, tau] = sum over b and t of da[b, i, t] x[b, t - tau * dilation]

    da, the gradient in front of the sigmoid: (B, N, T); x: (B, T). Returns: (N, K). Source: Eq. (15), mended.
    """
    xp = namespace(da, x)
    copies = delayed_copies(x, kernel_size, dilation)
    return xp.sum(da @ xp.matrix_transpose(copies), axis=0)


def bias_gradient(da, over_time):
    """Gradient of the biases of one layer, summed over whatever shares the bias.

    dbiases[i, t] = sum over b of da[b, i, t]; a bias that is the same at all times sums over t as well

    da: (B, N, T); over_time: whether each sample has a bias of its own. Returns: (N, T) or (N, 1). Source: Eq. (16), mended.
    """
    summed = namespace(da).sum(da, axis=0)
    return summed if over_time else namespace(da).sum(summed, axis=-1, keepdims=True)


def input_gradient(da, kernels, dilation):
    """Gradient of the input of one layer: the adjoint of its convolutions, which looks ahead where they look back.

    dx[b, s] = sum over i and tau of kernels[i, tau] da[b, i, s + tau * dilation]

    da: (B, N, T); kernels: (N, K). Returns: (B, T). Source: Eq. (18), mended.
    """
    return sum_of_advanced_copies(namespace(da).matrix_transpose(kernels) @ da, dilation)


def local_gradients(parameters, activations, dy):
    """The report's gradients, which follow only the shortest path to the output, with its signs and taps mended.

    The kernels and biases of layer l act through Z_l on the output, and row l of the mixing weights through x_{l+1} and
    Z_{l+1} alone. Later layers and the residual are left out.

    dy: (B, T) or (T,). Returns: Parameters of the same shapes. Raises ValueError for a dy of the wrong shape.
    Source: Eq. (11), (13), (15), (16), (19).
    """
    return _backward(parameters, activations, dy, every_path=False)


def backpropagate(parameters, activations, dy):
    """The exact gradients of all parameters.

    From the last layer to the first, with dx_L = 0:
    dz_l = output_l dy + mixing_l dx_{l+1}, da_l = dz_l z_l (1 - z_l), dx_l = input_gradient(da_l) + dx_{l+1}

    dy: (B, T) or (T,). Returns: Parameters of the same shapes. Raises ValueError for a dy of the wrong shape.
    Source: the chain rule; it replaces Eq. (12), (17).
    """
    return _backward(parameters, activations, dy, every_path=True)


def _backward(parameters, activations, dy, every_path):
    """Both kinds of gradient: every_path sends dx_{l+1} on, to Z_l and to x_l, and otherwise it ends at the mixing weights."""
    check_signal(dy, "dy")
    expected = activations.inputs[0].shape
    if dy.shape != expected and (1, *dy.shape) != expected:
        raise ValueError(f"dy has shape {tuple(dy.shape)}: expected {tuple(expected)}, as the network's output has")
    check_parameters(parameters, dy)
    (layers, kernels, kernel_size), over_time = parameters.kernels.shape, parameters.biases.shape[-1] > 1
    if [tuple(z.shape[:2]) for z in activations.outputs] != [(expected[0], kernels)] * layers:
        raise ValueError("the activations are those of another network: pass what `forward` returned for these parameters")
    xp, own_type = namespace(dy, parameters.kernels), parameters.kernels.dtype
    dy, parameters = xp.reshape(dy, expected), parameters.astype(dy.dtype)
    dkernels, dbiases, dmixing, doutput = ([None] * layers for _ in range(4))
    dx_next = xp.zeros_like(dy)
    for l in reversed(range(layers)):
        x, z, dilation = activations.inputs[l], activations.outputs[l], parameters.dilations[l]
        doutput[l] = mixer_gradient(z, dy)
        dmixing[l] = mixer_gradient(z, dx_next)
        dz = parameters.output[l, :, None] * dy[:, None, :]
        if every_path and l < layers - 1:
            dz = dz + parameters.mixing[l, :, None] * dx_next[:, None, :]
        da = sigmoid_gradient(dz, z)
        dkernels[l] = kernel_gradient(da, x, kernel_size, dilation)
        dbiases[l] = bias_gradient(da, over_time)
        dx = input_gradient(da, parameters.kernels[l, ...], dilation)
        dx_next = dx + dx_next if every_path else dx
    return Parameters(
        kernels=xp.stack(dkernels),
        biases=xp.stack(dbiases),
        mixing=xp.stack(dmixing)[:-1, :],  # the last layer's mix goes nowhere
        output=xp.stack(doutput),
        dilations=parameters.dilations,
    ).astype(own_type)
