from collections import Counter

import PIL.Image
import pytest

from ppdiffusers_ext.data import frames
from ppdiffusers_ext.pipelines.loading import Part


@pytest.fixture
def opened(monkeypatch):
    """Counter of opened files by path (pictures, and headers of videos), and of described networks as "parts"."""
    counts: Counter = Counter()

    def count(owner, name, key):
        function = getattr(owner, name)

        def counted(*arguments, **options):
            counts[key(*arguments)] += 1
            return function(*arguments, **options)

        monkeypatch.setattr(owner, name, counted)

    count(PIL.Image, "open", lambda path, *_: str(path))
    count(frames, "probe_video", lambda path: str(path))
    count(Part, "__init__", lambda *_: "parts")
    return counts
