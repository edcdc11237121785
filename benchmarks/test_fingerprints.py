"""Write the fingerprints of the test role of `grouped-v1`, by which copies of its images are known.

python benchmarks/test_fingerprints.py DATA     DATA is the folder of HAM10000
"""

from __future__ import annotations

import csv
import io
import sys
from importlib.resources import files
from pathlib import Path

from dermlens.data.duplicates import SIDE, fingerprint
from dermlens.data.manifest import load_manifest
from dermlens.data.table import read_table
from dermlens.evaluation.overlap import COLUMNS, SHIPPED
from dermlens.files import write_text
from dermlens.predict.pictures.preprocessing import read_image


def main(data: Path) -> None:
    """Write the table into the package."""
    table = read_table(data).set_index("image_id")
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(COLUMNS)
    for image_id in load_manifest("grouped-v1").ids("test"):
        pixels_HW3 = read_image(Path(table.loc[image_id, "path"]), min_side=SIDE)
        writer.writerow([image_id, fingerprint(pixels_HW3).hex()])
    write_text(Path(str(files("dermlens.data.manifests") / SHIPPED)), out.getvalue())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
