{{/* The same file in both charts; tests/deploy holds them equal. What differs between the services is in _service.tpl. */}}

{{- define "kinlink.name" -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "kinlink.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "kinlink.labels" -}}
{{ include "kinlink.selector" . }}
app.kubernetes.io/part-of: kinlink
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "kinlink.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuse what would lose or split state. */}}
{{- define "kinlink.refusals" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.database.urlSecret.name) -}}
{{- fail (printf "replicas is %d, but SQLite allows one: set database.urlSecret to a PostgreSQL URL, or replicas to 1" (int .Values.replicas)) -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (eq (include "kinlink.localData" .) "true") -}}
{{- fail (printf "replicas is %d, but Delta tables on local disk allow one: set replicas to 1" (int .Values.replicas)) -}}
{{- end -}}
{{- with include "kinlink.oneOnly" . -}}
{{- if gt (int $.Values.replicas) 1 -}}
{{- fail (printf "replicas is %d, but %s: set replicas to 1" (int $.Values.replicas) .) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The settings that both services share (servicekit/settings.py). */}}
{{- define "kinlink.serverConfig" -}}
listen = "0.0.0.0:8443"
health_listen = "0.0.0.0:8081"
certificate = "/run/kinlink/tls/tls.crt"
key = "/run/kinlink/tls/tls.key"
ca = "/run/kinlink/tls/ca.crt"
trust_domain = {{ .Values.config.trustDomain | quote }}
deny_list = "/run/kinlink/deny/deny_list"
{{- if not .Values.database.urlSecret.name }}
database_url = "sqlite:////var/lib/kinlink/{{ .Chart.Name }}.db"
{{- end }}
{{- with .Values.config.otlpEndpoint }}
otlp_endpoint = {{ . | quote }}
{{- end }}
max_message_bytes = {{ int64 .Values.config.maxMessageBytes }}
threads = {{ int .Values.config.threads }}
# A linkage run may first take 30 s to stop; both end before the kubelet stops waiting.
drain_s = {{ sub (int .Values.terminationGracePeriodSeconds) 35 }}
{{- end -}}
