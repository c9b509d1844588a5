"""What counts as an answer, and how costs are told. No time is asserted."""

import pytest

from benchmarks.progress import cost_of
from benchmarks.server_load import Request, of_routes, send_all
from tests.support.raw_server import RawServer

WHOLE = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nwhole"


@pytest.mark.parametrize(
    ("answer", "status", "is_lost"),
    [
        (WHOLE, 200, False),
        (b"HTTP/1.1 200 OK\r\n\r\nas long as it comes", 200, False),
        (b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n", 429, False),
        (b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", 500, True),
        (WHOLE[:-1], 0, True),
        (WHOLE[:20], 0, True),
        (b"", 0, True),
        (b"no HTTP at all", 0, True),
    ],
)
def test_an_answer_counts_if_it_is_whole_and_of_a_status_that_is_expected(answer, status, is_lost):
    with RawServer() as server:
        server.answers = [answer]
        request = Request("health", b"GET /health HTTP/1.1\r\n\r\n", (200, 429))
        answers = send_all(server.port, [request] * 20)
    assert [(each.status, each.is_lost) for each in answers] == [(status, is_lost)] * 20
    row = of_routes(answers)["health"]
    assert (row["count"], row["lost"], row["statuses"]) == (20, 20 * is_lost, {str(status): 20})
    assert 0 < row["median"] <= row["95th"] <= row["maximum"]


def test_where_nobody_listens_every_request_is_lost():
    with RawServer() as server:
        port = server.port
    answers = send_all(port, [Request("health", b"GET / HTTP/1.1\r\n\r\n", (200,))] * 5)
    assert [each.is_lost for each in answers] == [True] * 5


def test_a_cost_is_the_median_of_the_pairs_beside_the_middle_half_of_them():
    assert cost_of([1.02, 2.02, 1.0, 3.3, 1.01], [1.0, 2.0, 1.0, 3.0, 1.0]) == pytest.approx((0.01, 0.01, 0.02))
    assert cost_of([1.5], [1.0]) == (0.5, 0.5, 0.5)
