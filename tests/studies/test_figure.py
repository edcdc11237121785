from __future__ import annotations

import numpy as np
import pytest

from dermlens.sections import EvaluationConfig
from dermlens.studies.ablation_page import DRAWN, draw_differences
from dermlens.studies.scores import by_arm, compare_arms


def test_every_arm_but_the_baseline_is_drawn_where_the_table_has_it(predictions):
    tables = {"base": predictions(), "worse": predictions(seed=4, skill=0.5), "other": predictions(seed=5)}
    table = compare_arms(tables, EvaluationConfig(bootstrap=40))
    figure = draw_differences(table, "base")
    rows = by_arm(table[table["decision"] == "argmax"])
    for axis, metric in zip(figure.axes, DRAWN, strict=True):
        assert [label.get_text() for label in axis.get_yticklabels()] == ["worse", "other"]
        drawn = axis.lines[0].get_xdata()
        assert drawn == pytest.approx([rows[arm][metric]["difference"] for arm in ("worse", "other")])
        [lines] = [found for found in axis.collections if found.get_gid() == "interval"][:1]
        ends = [segment[:, 0] for segment in lines.get_segments()]
        expected = [
            [rows[arm][metric]["difference_low"], rows[arm][metric]["difference_high"]]
            for arm in ("worse", "other")
        ]
        np.testing.assert_allclose(ends, expected)
