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
{{- if and (not .Values.anchors.uris) (ne (include "kinlink.synthetic" .) "true") -}}
{{- fail "anchors.uris is empty: a log of real identifiers is anchored on storage that the service's administrators cannot delete from" -}}
{{- end -}}
{{- range .Values.anchors.uris -}}
{{- if and (hasPrefix "file:" .) (not $.Values.anchors.claimName) -}}
{{- fail (printf "anchors.uris: %s is on no claim: set anchors.claimName, on other storage than the state's" .) -}}
{{- end -}}
{{- end -}}
{{- if and (eq (include "kinlink.localState" .) "false") (not .Values.logKey.secretName) -}}
{{- fail "logKey.secretName is empty: without a volume the key that signs the log would be lost with the pod" -}}
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
{{- if .Values.logKey.secretName }}
log_key = "/run/kinlink/log/{{ .Values.logKey.secretKey }}"
{{- else }}
log_key = "/var/lib/kinlink/log.key"
{{- end }}
anchors = {{ .Values.anchors.uris | toJson }}
{{- with .Values.witnesses }}
witnesses = [
{{- range . }}
  { address = {{ .address | quote }}, key = {{ .key | quote }}, server_name = {{ .serverName | default "" | quote }} },
{{- end }}
]
{{- end }}
{{- with .Values.witnessedLogs }}
witnessed_logs = {{ . | toJson }}
{{- end }}
max_message_bytes = {{ int64 .Values.config.maxMessageBytes }}
threads = {{ int .Values.config.threads }}
# A linkage run may first take 30 s to stop; both end before the kubelet stops waiting.
drain_s = {{ sub (int .Values.terminationGracePeriodSeconds) 35 }}
{{- end -}}

{{/* Variables of the Secrets that both services may name. */}}
{{- define "kinlink.envFrom" -}}
{{- with .Values.anchors.credentialsSecret }}
- secretRef:
    name: {{ . }}
{{- end }}
{{- include "kinlink.moreEnvFrom" . }}
{{- end -}}

{{- define "kinlink.auditMounts" }}
{{- if .Values.logKey.secretName }}
- name: log-key
  mountPath: /run/kinlink/log
  readOnly: true
{{- end }}
{{- if .Values.anchors.claimName }}
- name: anchors
  mountPath: /var/lib/kinlink-anchors
{{- end }}
{{- end -}}

{{- define "kinlink.auditVolumes" }}
{{- with .Values.logKey.secretName }}
- name: log-key
  secret:
    secretName: {{ . }}
    defaultMode: 0440
{{- end }}
{{- with .Values.anchors.claimName }}
- name: anchors
  persistentVolumeClaim:
    claimName: {{ . }}
{{- end }}
{{- end -}}
