"""Whether the jsonnet mixin holds every rule and dashboard, as in the files.

Usage: mixin.py DASHBOARDS. Needs jsonnet and PyYAML.
"""

import json
import pathlib
import sys

import _jsonnet
import yaml

from servers import fail


def main():
    dashboards = pathlib.Path(sys.argv[1])
    visible = """
        local mixin = import 'mixin.libsonnet';
        {
          groups: mixin.prometheusAlerts.groups + mixin.prometheusRules.groups,
          dashboards: mixin.grafanaDashboards,
        }
    """
    mixin = json.loads(_jsonnet.evaluate_snippet("check", visible, jpathdir=[str(dashboards)]))
    rules = [yaml.safe_load(path.read_text()) for path in dashboards.glob("rules/*.yml")]
    groups = {group["name"]: group for file in rules for group in file["groups"]}
    if {group["name"]: group for group in mixin["groups"]} != groups or len(mixin["groups"]) != len(groups):
        fail("the mixin's groups of rules are not those of the files")
    files = [json.loads(path.read_text()) for path in dashboards.glob("*.json")]
    by_title = {board["title"]: board for board in files}
    if {board["title"]: board for board in mixin["dashboards"].values()} != by_title or len(by_title) != len(files):
        fail("the mixin's dashboards are not those of the files")
    print(f"the mixin has {len(groups)} groups of rules and {len(files)} dashboards, as in the files")


if __name__ == "__main__":
    main()
