"""From arrays to theta, Lambda and psi. Importing this package does not import torch; most of its modules do.

From the top: fitting repeats crossfit, in which nuisances learns theta and the treatment's mean or levels, spread the
treatment's conditional variance, and curvature or hessians Lambda; influence is what leaves, in numpy.

- What is learned: problem (arrays and options), tasks and indexed (losses), treatment and joint (laws of T given X).
- On which rows: scheme.
- By which learners: training (nets of an architecture, built in backbones/, on inputs, with views of augmentation),
  candidates on bases (a linear fit and a sieve, with sparse and quadratics), trees, jumps, screening, clusters.
- How they are joined: stacking and recalibration, or heads for ``learner="net"``.
- What is kept: prediction (theta at new covariates), signal (what the learners left in the residuals).
- Beside a fit: progress (its bar), autodiff (of a user's function of theta).
"""
