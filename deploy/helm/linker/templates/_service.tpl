{{/* What is particular to the linker. */}}

{{- define "kinlink.other" -}}pseudonymizer{{- end -}}

{{- define "kinlink.localData" -}}
{{- if .Values.store.url -}}false{{- else -}}true{{- end -}}
{{- end -}}

{{- define "kinlink.configFiles" -}}
config.toml: |
  listen = "0.0.0.0:8443"
  certificate = "/run/kinlink/tls/tls.crt"
  key = "/run/kinlink/tls/tls.key"
  ca = "/run/kinlink/tls/ca.crt"
  trust_domain = {{ .Values.config.trustDomain | quote }}
  deny_list = "/run/kinlink/deny/deny_list"
  {{- if not .Values.database.urlSecret.name }}
  database_url = "sqlite:////var/lib/kinlink/linker.db"
  {{- end }}
  {{- with .Values.config.otlpEndpoint }}
  otlp_endpoint = {{ . | quote }}
  {{- end }}
  max_message_bytes = {{ int64 .Values.config.maxMessageBytes }}
  threads = {{ int .Values.config.threads }}
{{- end -}}

{{- define "kinlink.env" -}}
{{- with .Values.database.urlSecret -}}
{{- if .name -}}
- name: KINLINK_DATABASE_URL
  valueFrom:
    secretKeyRef:
      name: {{ .name }}
      key: {{ .key }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "kinlink.mounts" -}}{{- end -}}
{{- define "kinlink.volumes" -}}{{- end -}}
