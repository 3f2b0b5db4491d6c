"""Validates bills of materials against the schema: validate_bills.py BILL-OR-WHEEL..."""

import sys
import zipfile

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

for place in sys.argv[1:]:
    if place.endswith(".whl"):
        with zipfile.ZipFile(place) as wheel:
            bill = wheel.read(next(n for n in wheel.namelist() if n.endswith("/sboms/evergrant.cdx.json"))).decode()
    else:
        with open(place, encoding="utf-8") as file:
            bill = file.read()
    error = JsonStrictValidator(SchemaVersion.V1_5).validate_str(bill)
    if error is not None:
        sys.exit(f"{place}: {error}")
