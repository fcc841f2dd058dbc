"""Joins the results of one run of run.sh into one JSON list, and prints them as a table.

The list keeps the order in which things ran. Records of the command beside carry `beside`, the number of its
run, from 0: a drift of the machine is the change of one of its figures from run to run. Their other keys are
that command's own and are passed on as they are.
"""

import json
import os
import pathlib
import sys

COLUMNS = ("peer", "version", "shape", "threads", "phase", "median_ms", "min_ms", "p10_ms", "p90_ms", "repetitions")


def records_of(path):
    found = json.loads(path.read_text())
    found = found if isinstance(found, list) else [found]
    if not all(isinstance(record, dict) for record in found):
        sys.exit("collect: the command beside must print a JSON object or a list of objects")
    return found


def cell(record, column):
    value = record.get(column, "")
    return f"{value:.2f}" if isinstance(value, float) else str(value)


def conditions(load):
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else 'unknown processor'}, {os.cpu_count()} CPUs, load average at the start {load}"


def main():
    folder, output = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    records, besides = [], 0
    for path in sorted(folder.glob("*.json")):
        found = records_of(path)
        if path.name.endswith(".beside.json"):
            found = [{**record, "beside": besides} for record in found]
            besides += 1
        records += found
    output.write_text(json.dumps(records, indent=2) + "\n")
    print(conditions(sys.argv[3]))
    print()
    print("| " + " | ".join(COLUMNS) + " |")
    print("|" + " --- |" * len(COLUMNS))
    for record in records:
        print("| " + " | ".join(cell(record, column) for column in COLUMNS) + " |")


main()
