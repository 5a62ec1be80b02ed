"""pip install clients/python. There is no pyproject.toml so that pip builds with the setuptools that
are there, and has nothing to download on a machine without a network."""
from setuptools import setup

setup(name="ghn-client", version="0.1.0", license="MIT", packages=["ghn_client"],
      description="Predicted parameters for PyTorch models, from a ghnd server",
      python_requires=">=3.8", install_requires=["numpy"],
      extras_require={"torch": ["torch>=1.13"]})
