import pytest

from ppdiffusers_ext.preprocess.embedded.estimator import EmbeddedEstimator
from ppdiffusers_ext.preprocess.embedded.networks import open_networks


@pytest.fixture(scope="session")
def networks():
    return open_networks()


@pytest.fixture(scope="session")
def estimator(networks):
    return EmbeddedEstimator(networks)
