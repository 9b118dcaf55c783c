"""The terms of a report with their definitions."""

from __future__ import annotations

GLOSSARY = {
    "nats": "Natural units of information: differences of natural logarithms. 1 nat is 1.44 bits.",
    "log-likelihood": "Sum over rows of log p(x) under the fitted model. Higher is better, but more parameters always "
    "increase it.",
    "ELBO": "Evidence lower bound, which every engine maximizes (plus the log prior, if there is one). "
    "Log-likelihood = ELBO + gap.",
    "gap": "KL(q, posterior): how far the ELBO is below the log-likelihood because q is not the exact posterior. 0, up "
    "to rounding, if it is.",
    "its standard error": "Where the log-likelihood has no closed form, it is estimated by importance weighting with "
    "draws of z. The estimate is then a little too low, by half the squared error per row.",
    "log prior or -KL of theta": "Log density of the parameters theta under their prior. For a fit with a posterior "
    "q(theta) over the parameters: -KL(q(theta), prior).",
    "bound of log evidence": "ELBO - KL(q(theta), prior) of a posterior q over the parameters theta, plus the "
    "logarithm of the number of relabelings of its components. It is below log p(all rows) by the KL from q to the "
    "posterior. It ranks models of any size with comparable priors.",
    "Pareto k": "Whether importance weighting of draws from q(theta) is reliable: up to 0.5 yes, up to 0.7 roughly. It "
    "does not see regions that q never draws from; the sampler can.",
    "s.d. of theta": "Geometric mean over all parameters of the standard deviation under q divided by that of the "
    "sampler. Below 1, q is too certain.",
    "held out": "Log-likelihood per row of the held-out rows, which no fit has used. It ranks models of any size.",
    "BIC": "Bayesian information criterion, -2 log-likelihood + parameters times log(rows). Lower is better.",
    "gradient norm": "Norm of the gradient of the bound at the end, in nats per row and units of the data. 0 at an "
    "optimum.",
    "parameter distance": "Largest difference of any parameter once components are matched: probabilities as they "
    "are, locations in standard deviations of the data, scales as logarithms.",
    "mean posterior KL": "Mean over rows of the KL between the component probabilities of two fits. 0 if they agree.",
}
