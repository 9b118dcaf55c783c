"""The terms of the report, explained."""

from __future__ import annotations

GLOSSARY = {
    "nats": "Natural units of information: differences of natural logarithms. 1 nat is 1.44 bits.",
    "log-likelihood": "Sum over rows of log p(x) under the fit. Higher is better, but more parameters always help.",
    "ELBO": "Evidence lower bound: what every engine raises (plus the log prior, if any). Log-likelihood = ELBO + gap.",
    "gap": "KL(q, posterior): what the ELBO loses because q is not the exact posterior. 0 to rounding if it is.",
    "its standard error": "Of a log-likelihood without closed form, from the draws of the latent variables that weigh "
    "it; it is then a little low, by half the square of the error per row.",
    "log prior or -KL of theta": "Log density of the parameters theta under their prior; of a posterior over them "
    "-KL(q(theta), prior).",
    "bound of log evidence": "ELBO - KL of a posterior q over the parameters theta, of all its relabellings together: "
    "below log p(all rows) by what q is from the posterior. It ranks models of any size under like priors.",
    "Pareto k": "Whether draws of q(theta), weighed, stand for the posterior: up to 0.5 yes, up to 0.7 roughly. "
    "It cannot see where q never goes; the sampler can.",
    "s.d. of theta": "Geometric mean over all parameters of q's standard deviation over the sampler's: below 1 where q "
    "is too sure.",
    "held out": "The same, per row, of rows that no fit has seen: what ranks models of any size.",
    "BIC": "Bayesian information criterion, -2 log-likelihood + parameters times log(rows). Lower is better.",
    "gradient norm": "Slope of the bound in nats per row at the end, in units of the data. 0 at an optimum.",
    "parameter distance": "Largest difference of any parameter once components are matched: probabilities as they "
    "are, locations in standard deviations of the data, scales in logarithms.",
    "mean posterior KL": "Mean over rows of KL between the two fits' component probabilities. 0 if they agree.",
}
