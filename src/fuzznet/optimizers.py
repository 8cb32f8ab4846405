"""Optimizers: each turns parameters and gradients into better parameters (chapter 15).

An optimizer is called once a step, with the parameters and their gradients, and returns new parameters; what it remembers
between steps, it keeps itself. Use a new one for each training.
"""

import math

from fuzznet.arrays import namespace


def check_positive(name, value):
    """Raise ValueError unless the value is a finite number above 0."""
    if not (math.isfinite(value) and value > 0):
        raise ValueError(f"{name}={value}: expected a finite number above 0")


def check_fraction(name, value):
    """Raise ValueError unless the value is at least 0 and below 1."""
    if not 0 <= value < 1:
        raise ValueError(f"{name}={value}: expected at least 0 and below 1")


class GradientDescent:
    """Plain gradient descent.

    p <- p - learning_rate g

    Source: section III.2 of the report.
    """

    def __init__(self, learning_rate=0.05):
        check_positive("learning_rate", learning_rate)
        self.learning_rate = float(learning_rate)

    def __call__(self, parameters, gradients):
        return parameters.map(lambda p, g: p - self.learning_rate * g, gradients)


class Momentum:
    """Gradient descent with momentum: a heavy ball with friction.

    v <- momentum v - learning_rate g, p <- p + v

    Source: Polyak, USSR Computational Mathematics and Mathematical Physics 4 (5), 1964.
    """

    def __init__(self, learning_rate=0.05, momentum=0.9):
        check_positive("learning_rate", learning_rate)
        check_fraction("momentum", momentum)
        self.learning_rate, self.momentum = float(learning_rate), float(momentum)
        self.velocity = None

    def __call__(self, parameters, gradients):
        if self.velocity is None:
            self.velocity = gradients.map(lambda g: namespace(g).zeros_like(g))
        self.velocity = self.velocity.map(lambda v, g: self.momentum * v - self.learning_rate * g, gradients)
        return parameters.map(lambda p, v: p + v, self.velocity)


class Adam:
    """Adam: each number steps by its own average gradient, measured in units of its own usual size.

    m <- beta1 m + (1 - beta1) g, v <- beta2 v + (1 - beta2) g^2,
    p <- p - learning_rate m' / (sqrt(v') + epsilon), with m' = m / (1 - beta1^n) and v' = v / (1 - beta2^n) at step n

    Source: Kingma and Ba, arXiv 1412.6980.
    """

    def __init__(self, learning_rate=0.01, beta1=0.9, beta2=0.999, epsilon=1e-8):
        check_positive("learning_rate", learning_rate)
        check_fraction("beta1", beta1)
        check_fraction("beta2", beta2)
        check_positive("epsilon", epsilon)
        self.learning_rate, self.epsilon = float(learning_rate), float(epsilon)
        self.beta1, self.beta2 = float(beta1), float(beta2)
        self.steps, self.mean, self.square = 0, None, None

    def __call__(self, parameters, gradients):
        if self.mean is None:
            self.mean = self.square = gradients.map(lambda g: namespace(g).zeros_like(g))
        self.steps += 1
        self.mean = self.mean.map(lambda m, g: self.beta1 * m + (1 - self.beta1) * g, gradients)
        self.square = self.square.map(lambda v, g: self.beta2 * v + (1 - self.beta2) * g**2, gradients)
        mean_share, square_share = 1 - self.beta1**self.steps, 1 - self.beta2**self.steps

        def step(p, m, v):
            return p - self.learning_rate * (m / mean_share) / (namespace(v).sqrt(v / square_share) + self.epsilon)

        return parameters.map(step, self.mean, self.square)
