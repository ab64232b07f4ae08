"""A Gaussian-process classifier of features: a last layer that knows how sure it is.

Scores f_c of the classes are independent draws of one Gaussian process with an RBF kernel. A normal
distribution of their values at Z inducing points, whitened by the prior, stands for the posterior
(Hensman et al. 2015):

    f = K_xz L^-T v,  v_c ~ N(m_c, S_c),  p(v) = N(0, 1),  L L' = K_zz,

and it maximises the ELBO, E_q log p(y | f) - KL(q(v) || p(v)), over kernel, inducing points, m, S.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.scipy import linalg, special

from mmvae_jax.types import Array, PRNGKey

# (mean, variance [N, C] of the scores, targets [N, ...], key) to E_q log p(target | f), [N].
Expected = Callable[[Array, Array, Array, PRNGKey], Array]
Parameters = dict[str, Array]

_INDUCING = 50
_BATCH = 128
_ADAM = optax.adam(2e-2)
_DRAWS = 8  # of the scores, in one estimate of the expected log-likelihood
_VARIANCE = 4.0  # of the scores under the prior, at first
_JITTER = 1e-4  # added to K_zz, in units of its diagonal


@dataclasses.dataclass(frozen=True, eq=False)
class GaussianProcess:
    """A trained classifier: parameters, and what its features are standardised by."""

    parameters: Parameters
    location: np.ndarray
    scale: np.ndarray

    def __call__(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and variance of the scores of the classes, both [N, C], at features [N, F]."""
        x = jnp.asarray((features - self.location) / self.scale, jnp.float32)
        return jax.device_get(_predict(self.parameters, x))


def initial(inducing: Array, num_classes: int) -> Parameters:
    """q(v) = p(v) at inducing points [Z, F] of standardised features."""
    count, size = inducing.shape
    return {
        "log_lengthscale": jnp.log(jnp.sqrt(jnp.float32(size))),
        "log_variance": jnp.log(jnp.float32(_VARIANCE)),
        "inducing": inducing,
        "mean": jnp.zeros((count, num_classes)),
        # Below the diagonal the factor of S itself, on it its logarithm.
        "factor": jnp.zeros((num_classes, count, count)),
    }


def predict(parameters: Parameters, x: Array) -> tuple[Array, Array]:
    """Mean and variance of q(f) at x [N, F], both [N, C]."""
    variance, inducing = jnp.exp(parameters["log_variance"]), parameters["inducing"]
    jitter = _JITTER * variance * jnp.eye(len(inducing))
    lower = jnp.linalg.cholesky(_kernel(parameters, inducing, inducing) + jitter)
    # On CPU a triangular solution for all of x took ten times as long as this product.
    inverse = linalg.solve_triangular(lower, jnp.eye(len(inducing)), lower=True)
    known = inverse @ _kernel(parameters, inducing, x)  # [Z, N]
    factor = _factor(parameters)
    spread = known.T @ factor.transpose(1, 0, 2).reshape(len(inducing), -1)  # one product, too
    spread = spread.reshape(len(x), *factor.shape[::2])  # [N, C, Z]
    of_prior = variance - (known**2).sum(0)
    found = jnp.maximum(of_prior, 0.0)[:, None] + (spread**2).sum(-1)
    return known.T @ parameters["mean"], found


def kl(parameters: Parameters) -> Array:
    """KL(q(v) || p(v)), nats."""
    factor, mean = _factor(parameters), parameters["mean"]
    log_determinant = jnp.diagonal(parameters["factor"], axis1=1, axis2=2).sum()
    return 0.5 * ((factor**2).sum() + (mean**2).sum() - mean.size) - log_determinant


def elbo(
    parameters: Parameters, x: Array, targets: Array, size: int, expected: Expected, key: PRNGKey
) -> Array:
    """A lower bound on log p(targets), nats, from a batch [B, F] of ``size`` examples in all."""
    mean, variance = predict(parameters, x)
    return size * expected(mean, variance, targets, key).mean() - kl(parameters)


def softmax_likelihood(mean: Array, variance: Array, label: Array, key: PRNGKey) -> Array:
    """E_q log softmax(f) at the labels, [N], from a few draws of f."""
    noise = jax.random.normal(key, (_DRAWS, *mean.shape))
    scores = jax.nn.log_softmax(mean[None] + jnp.sqrt(variance)[None] * noise, -1)
    chosen = jnp.take_along_axis(scores, label[None, :, None], -1)[..., 0]
    return chosen.mean(0)


def fit(
    features: np.ndarray, label: np.ndarray, num_classes: int, *, seed: int, steps: int
) -> GaussianProcess:
    """Trains on features [N, F] with labels int32 [N]; the same seed gives the same classifier."""
    from sklearn.cluster import KMeans  # takes a second that others need not wait for

    location, scale = features.mean(0), features.std(0)
    scale = np.where(scale > 1e-6, scale, 1.0)
    x = np.asarray((features - location) / scale, np.float32)
    count = min(_INDUCING, len(np.unique(x, axis=0)))
    centres = KMeans(count, n_init=1, max_iter=20, random_state=seed).fit(x).cluster_centers_
    parameters = initial(jnp.asarray(centres, jnp.float32), num_classes)
    parameters = _train(parameters, jnp.asarray(x), jnp.asarray(label), np.uint32(seed), steps)
    return GaussianProcess(parameters, location, scale)


def mutual_information(mean: Array, variance: Array, noise: Array) -> Array:
    """I(y, f | x) = H[E_f softmax(f)] - E_f H[softmax(f)], nats, [N].

    Args:
      mean: [N, C] of the scores, which are independent normal numbers.
      variance: [N, C].
      noise: [S, C] standard normal draws, the same for every x.
    """
    scores = mean[None] + jnp.sqrt(variance)[None] * noise[:, None]
    probabilities = jax.nn.softmax(scores, -1)
    single = special.entr(probabilities).sum(-1).mean(0)
    return special.entr(probabilities.mean(0)).sum(-1) - single


def _kernel(parameters: Parameters, x: Array, y: Array) -> Array:
    """RBF kernel of x [N, F] and y [N', F]: [N, N']."""
    length = jnp.exp(parameters["log_lengthscale"])
    x, y = x / length, y / length
    squared = (x**2).sum(-1)[:, None] + (y**2).sum(-1)[None] - 2.0 * x @ y.T
    return jnp.exp(parameters["log_variance"] - 0.5 * jnp.maximum(squared, 0.0))


def _factor(parameters: Parameters) -> Array:
    """Lower triangular factors of S, [C, Z, Z]."""
    raw = parameters["factor"]
    diagonal = jnp.exp(jnp.diagonal(raw, axis1=1, axis2=2))
    return jnp.tril(raw, -1) + diagonal[..., None] * jnp.eye(raw.shape[-1])[None]


_predict = jax.jit(predict)


@functools.partial(jax.jit, static_argnums=4)
def _train(parameters: Parameters, x: Array, label: Array, seed: Array, steps: int) -> Parameters:
    key, size = jax.random.key(seed), len(x)

    def step(state, index):
        parameters, moments = state
        rows_key, noise_key = jax.random.split(jax.random.fold_in(key, index))
        rows = jax.random.randint(rows_key, (min(_BATCH, size),), 0, size)

        def loss(parameters):
            bound = elbo(parameters, x[rows], label[rows], size, softmax_likelihood, noise_key)
            return -bound / size

        gradient = jax.grad(loss)(parameters)
        with jax.numpy_dtype_promotion("standard"):  # optax raises a float to an integer count
            updates, moments = _ADAM.update(gradient, moments, parameters)
        return (optax.apply_updates(parameters, updates), moments), None

    state = (parameters, _ADAM.init(parameters))
    return jax.lax.scan(step, state, jnp.arange(steps))[0][0]
