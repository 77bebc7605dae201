import pytest

from node.ledger.ledger import Ledger
from node.spool import Results
from tests.delivery.desk import Desk


@pytest.fixture
def desk(ledger: Ledger, results: Results) -> Desk:
    return Desk(ledger, results)
