{{- define "exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* 52 characters, because the controller adds a suffix to the names of pods. */}}
{{- define "exporter.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" }}
{{- else if contains (include "exporter.name" .) .Release.Name }}
{{- .Release.Name | trunc 52 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "exporter.name" .) | trunc 52 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "exporter.selector" -}}
app.kubernetes.io/name: {{ include "exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "exporter.labels" -}}
{{ include "exporter.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end }}

{{- define "exporter.serviceAccountName" -}}
{{- default (ternary (include "exporter.fullname" .) "default" .Values.serviceAccount.create) .Values.serviceAccount.name }}
{{- end }}

{{- define "exporter.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end }}
{{- end }}

{{- /* The configuration, with the web file if there is one. A database replaces the default of the state's path. */}}
{{- define "exporter.config" -}}
{{- $config := deepCopy .Values.config }}
{{- if hasKey (default dict $config.state) "postgres" }}
{{- $_ := unset $config.state "path" }}
{{- end }}
{{- if .Values.web.secretName }}
{{- $server := default dict $config.server }}
{{- $_ := set $server "web_config_file" "/etc/talkover-exporter/web/web.yml" }}
{{- $_ := set $config "server" $server }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{- /* How the kubelet asks. Argument: a list of the root and the path. */}}
{{- define "exporter.probe" -}}
{{- $root := index . 0 }}
{{- if $root.Values.web.basicAuthSecretName -}}
tcpSocket: {port: http}
{{- else -}}
httpGet:
  path: {{ index . 1 }}
  port: http
  scheme: {{ ternary "HTTPS" "HTTP" $root.Values.web.tls }}
{{- end }}
{{- end }}
