"""urunc: an OCI container runtime whose containers are unikernels.

The one rule: importing the package does no work and imports nothing.
"""

__version__ = "0.1.0"
