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

{{/* "true" when the service keeps anything on its own disk. */}}
{{- define "kinlink.localState" -}}
{{- if or (not .Values.database.urlSecret.name) (eq (include "kinlink.localData" .) "true") -}}
true
{{- else -}}
false
{{- end -}}
{{- end -}}

{{/* Refuse what would lose or split state. */}}
{{- define "kinlink.refusals" -}}
{{- if and (gt (int .Values.replicas) 1) (not .Values.database.urlSecret.name) -}}
{{- fail (printf "replicas is %d, but SQLite allows one: set database.urlSecret to a PostgreSQL URL, or replicas to 1" (int .Values.replicas)) -}}
{{- end -}}
{{- if and (gt (int .Values.replicas) 1) (eq (include "kinlink.localData" .) "true") -}}
{{- fail (printf "replicas is %d, but Delta tables on local disk allow one: set store.url to s3:// or abfss://, or replicas to 1" (int .Values.replicas)) -}}
{{- end -}}
{{- end -}}
