"""What the benchmark of ranks computes for cards that have not been run."""

from benchmarks.ranks import computed, halves_bytes, sequence_bytes, table, windows_bytes


def test_bytes_of_windows_are_those_of_predictions_that_others_make():
    # One window with both predictions: each of two cards gets the other's 24 frames of 4 x 64 x 64 numbers.
    assert windows_bytes(2, 1, 24, 512, 512) == 24 * 4 * 64 * 64 * 4
    assert windows_bytes(8, 1, 24, 512, 512) == 2 * windows_bytes(2, 1, 24, 512, 512)  # six of them have nothing to do
    assert halves_bytes(36, 48, 84) == 36 * 48 * 84 * 8 * 4


def test_bytes_of_a_sequence_are_those_that_ranks_count():
    # As tests/pipelines/test_together.py sees them counted.
    small = {"blocks": 4, "channels": 32, "heads": 4, "size": 4}
    assert sequence_bytes(3, 2, 5, 4, 4, **small) == 4 * (4 * 2 * 7 * 2 * 8 * 4 * 2 + 2 * (20 - 6) * 32)


def test_table_has_a_row_for_each_clip_and_number_of_cards():
    rows = computed()
    assert len(table(rows).splitlines()) == 2 + len(rows) == 20
    assert all(1 <= row["gain"] <= row["cards"] for row in rows)
