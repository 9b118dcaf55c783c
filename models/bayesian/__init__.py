"""Bayesian mixtures: a distribution over the parameters of a mixture, for variational Bayes, guides and samplers.

`bayesian_mixture.py` is the model: the Pyro pair and its bound. It inherits its other methods, by topic, from
`variational_bayes.py` (E-step, M-step, start), `parameter_draws.py`, `posterior_predictive.py`,
`exchangeable_labels.py` (which components may swap labels) and `mixture_with_posterior.py` (what these share). It
rests on two kinds of parts:

- The prior of the parameters, with its conjugate posterior if there is one: for the weights `dirichlet_weights.py` and
  `stick_breaking_weights.py`; for theta `conjugate_posterior.py` (Gamma, Beta or Dirichlet, for families with the
  ability `Conjugate`), `gaussian_posterior.py` (normal-inverse-Wishart), `product_posterior.py` (of each group of
  columns), `named_priors.py` (any priors, no posterior).
- The joint posterior q(weights, theta): `closed_form_posterior.py`, `guide_posterior.py` (a guide of Pyro's) or
  `sampled_posterior.py` (the draws of a sampler).

What a new thing here must offer: a prior and posterior for a new kind of family is a subclass of `PriorAndPosterior`
(`prior_and_posterior.py`), registered in `posterior_for_family.py`; a new form of q has the methods of
`ClosedFormPosterior`.

May import: `families`, `mixtures`, `kernels`, `contract`, `module` and what is below them. Nothing of `inference`.
"""
