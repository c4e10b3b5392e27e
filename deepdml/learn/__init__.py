"""From arrays to theta, Lambda and psi. Importing this package does not import torch; most of its modules do."""
