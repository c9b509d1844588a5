import pytest

from ppdiffusers_ext.preprocess.blaze.estimator import EmbeddedEstimator
from ppdiffusers_ext.preprocess.blaze.networks import open_networks


@pytest.fixture(scope="session")
def networks():
    return open_networks()


@pytest.fixture(scope="session")
def estimator(networks):
    return EmbeddedEstimator(networks)
