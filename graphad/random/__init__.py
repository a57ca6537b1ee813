"""Random numbers from explicit keys: those of ``jax.random``, bit for bit where no logarithm rounds them.

A key is made by `key`; every function also takes its older form, the array ``uint32[2]`` that `PRNGKey` makes. Nothing
is hidden: the same key gives the same numbers, so `split` it for new ones.
``config.threefry_partitionable`` chooses between JAX's two layouts of the bits; the default is the one that was JAX's
until version 0.5, whose numbers its tutorials print.

All functions may be traced and batched over keys, and differentiated with respect to their parameters, but for those
that draw until a number is accepted (`gamma` and what is made from it): they say so.
"""

from __future__ import annotations

from graphad.api.names import listing as _listing
from graphad.random._continuous import cauchy as cauchy
from graphad.random._continuous import double_sided_maxwell as double_sided_maxwell
from graphad.random._continuous import exponential as exponential
from graphad.random._continuous import gumbel as gumbel
from graphad.random._continuous import laplace as laplace
from graphad.random._continuous import logistic as logistic
from graphad.random._continuous import lognormal as lognormal
from graphad.random._continuous import maxwell as maxwell
from graphad.random._continuous import pareto as pareto
from graphad.random._continuous import rayleigh as rayleigh
from graphad.random._continuous import triangular as triangular
from graphad.random._continuous import truncated_normal as truncated_normal
from graphad.random._continuous import wald as wald
from graphad.random._continuous import weibull_min as weibull_min
from graphad.random._discrete import categorical as categorical
from graphad.random._discrete import choice as choice
from graphad.random._discrete import geometric as geometric
from graphad.random._discrete import permutation as permutation
from graphad.random._discrete import shuffle as shuffle
from graphad.random._gamma_family import ball as ball
from graphad.random._gamma_family import beta as beta
from graphad.random._gamma_family import chisquare as chisquare
from graphad.random._gamma_family import dirichlet as dirichlet
from graphad.random._gamma_family import f as f
from graphad.random._gamma_family import generalized_normal as generalized_normal
from graphad.random._gamma_family import t as t
from graphad.random._keys import PRNGKey as PRNGKey
from graphad.random._keys import bits as bits
from graphad.random._keys import clone as clone
from graphad.random._keys import fold_in as fold_in
from graphad.random._keys import key as key
from graphad.random._keys import key_data as key_data
from graphad.random._keys import key_impl as key_impl
from graphad.random._keys import split as split
from graphad.random._keys import wrap_key_data as wrap_key_data
from graphad.random._matrices import multivariate_normal as multivariate_normal
from graphad.random._matrices import orthogonal as orthogonal
from graphad.random._rejection import gamma as gamma
from graphad.random._rejection import loggamma as loggamma
from graphad.random._rejection import poisson as poisson
from graphad.random._uniform import bernoulli as bernoulli
from graphad.random._uniform import normal as normal
from graphad.random._uniform import rademacher as rademacher
from graphad.random._uniform import randint as randint
from graphad.random._uniform import uniform as uniform

__dir__ = _listing(globals())
