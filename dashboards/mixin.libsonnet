// The rules and dashboards as a mixin, for those who build their monitoring with jsonnet (https://monitoring.mixins.dev).
// Reads the files beside it and adds nothing. To change a threshold, edit rules/thresholds.yml, or go through
// `prometheusRules.groups` with `std.map`: `+:` would only append to it.
local groups = std.flattenArrays([
  std.parseYaml(file).groups
  for file in [
    importstr 'rules/exporter.yml',
    importstr 'rules/slo.yml',
    importstr 'rules/thresholds.yml',
    importstr 'rules/webhooks.yml',
  ]
]);
local alerts(group) = std.any([std.objectHas(rule, 'alert') for rule in group.rules]);

{
  grafanaDashboardFolder:: 'TalkOver',
  grafanaDashboards+:: {
    'talkover-exporter.json': import 'exporter.json',
    'talkover-overview.json': import 'overview.json',
    'talkover-webhook.json': import 'webhook.json',
  },
  // A group stays whole, because its alerts read what its recording rules have just written.
  prometheusAlerts+:: { groups+: std.filter(alerts, groups) },
  prometheusRules+:: { groups+: std.filter(function(group) !alerts(group), groups) },
}
