"""What a run says on its way: the package's own lines, not those of Orbax and TFDS."""

import re

from tests import tiny_runs

pytestmark = tiny_runs.SHARED


def test_only_the_package_speaks(tiny_run):
    done, _, _ = tiny_run
    sources = set(re.findall(r"^I\d{4} \S+ +\d+ (\S+\.py):\d+\]", done.stderr, re.MULTILINE))
    assert sources <= {"experiment.py", "loop.py", "metrics.py", "suite.py", "page.py",
                       "samples.py", "wall_clock.py", "datasets.py"}, sources
    assert re.search(r"damsm|attngan", done.stderr)
